"""`python -m zoo.list`: the models of the zoo and how large they are."""

from zoo.models import INPUT_SHAPES, MODELS, build, measure
from zoo.terminal import Table, application, console, user_errors

app = application()


@app.command()
def main() -> None:
    """List every model with its data set, parameters, ReLU neurons and multiply-accumulates per image."""
    table = Table(box=None, pad_edge=False)
    for title in ("model", "data set"):
        table.add_column(title, no_wrap=True)
    for title in ("parameters", "ReLUs", "MACs"):
        table.add_column(title, justify="right", no_wrap=True)
    with user_errors():
        for dataset, builders in MODELS.items():
            for name in builders:
                size = measure(build(name, dataset), INPUT_SHAPES[dataset])
                table.add_row(name, dataset, f"{size.parameters:,}", f"{size.relus:,}", f"{size.macs:,}")
    console.print(table)


if __name__ == "__main__":
    app()
