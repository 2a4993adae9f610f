"""`python -m zoo.train`: certified training of a model of the zoo, from the command line."""

from pathlib import Path
from typing import Annotated

from zoo import config, data, loop
from zoo.terminal import application, legend, training_display, typer, user_errors

app = application()
Option = typer.Option


@app.command()
def main(  # every setting is one option; `context.params` hands them on by name
    context: typer.Context,
    model: Annotated[str | None, Option(help="Name of the model; `python -m zoo.list` lists them.")] = None,
    dataset: Annotated[str | None, Option(help="digits, mnist or fashion-mnist.  [default: digits]")] = None,
    data_dir: Annotated[str | None, Option(help="Folder that holds MNIST/raw or FashionMNIST/raw.")] = None,
    eps: Annotated[float | None, Option(help="l_inf radius of training and test, pixels in [0, 1].")] = None,
    method: Annotated[str | None, Option(help="ibp or crown-ibp.  [default: crown-ibp]")] = None,
    epochs: Annotated[int | None, Option(help="Length of the whole run.")] = None,
    batch_size: Annotated[int | None, Option(help="Examples per step.")] = None,
    lr: Annotated[float | None, Option(help="Learning rate of Adam, until the ramp has ended.")] = None,
    warmup: Annotated[int | None, Option(help="Natural epochs before the ramp.")] = None,
    ramp: Annotated[int | None, Option(help="Epochs in which the radius grows to eps.")] = None,
    schedule: Annotated[str | None, Option(help="linear or smoothed.  [default: linear]")] = None,
    kappa_start: Annotated[float | None, Option(help="Weight of the natural loss at radius 0.  [default: 1]")] = None,
    kappa_final: Annotated[float | None, Option(help="Weight of the natural loss at eps.  [default: 0]")] = None,
    beta_start: Annotated[float | None, Option(help="Share of CROWN-IBP at radius 0.  [default: 1]")] = None,
    beta_final: Annotated[float | None, Option(help="Share of CROWN-IBP at eps.  [default: 0]")] = None,
    lr_decay_factor: Annotated[float | None, Option(help="Factor per decay period after the ramp.")] = None,
    lr_decay_every: Annotated[int | None, Option(help="Length of a decay period in epochs.")] = None,
    seed: Annotated[int | None, Option(help="Of the initial weights and the data order.  [default: 0]")] = None,
    threads: Annotated[int | None, Option(help="CPU threads.  [default: 1 for digits, else PyTorch's]")] = None,
    out: Annotated[str | None, Option(help="Where the run writes.  [default: runs/<settings>]")] = None,
    config_file: Annotated[Path | None, Option("--config", help="TOML file of settings; flags override it.")] = None,
    resume: Annotated[bool, Option(help="Continue from last.pt in the output directory if it exists.")] = True,
) -> None:
    """Train a model and certify it.

    Settings not given have defaults per data set: for mnist and fashion-mnist those of the CROWN-IBP paper's small
    models (100 epochs), for digits a run of about a minute. A killed run continues where it stopped.
    """
    given = {name: value for name, value in context.params.items() if name in config.SETTINGS and value is not None}
    with user_errors():
        file = config.read_toml(config_file) if config_file is not None else {}
        run_training(config.resolve(given, file), resume=resume)


def run_training(settings: config.TrainingConfig, *, resume: bool) -> None:
    """Train, with progress on the terminal, and print the errors on the test split at the end."""
    loop.set_threads(settings.threads)
    run = loop.begin(settings, data.load(settings.dataset, settings.data_dir))
    if resume and run.last_checkpoint.exists():
        loop.resume(run)
        print(f"resuming {run.last_checkpoint} after epoch {run.epoch} of {settings.epochs}")
    print(legend(settings))
    with training_display(settings, run.epoch, run.steps_per_epoch) as display:
        loop.train(run, display)
    print(summary(run))


def summary(run: loop.Run) -> str:
    """The result: errors of the last weights on the whole test split."""
    last, examples = run.history[-1], len(run.dataset.test.labels)
    bound = {0.0: "IBP", 1.0: "CROWN-IBP"}.get(last["test_beta"], f"{last['test_beta']:g} CROWN-IBP + IBP")
    return (
        f"\ntest split, {examples} examples, weights after the last epoch (no choice was made on test data):\n"
        f"  standard error  {last['test_standard_error']:7.2%}\n"
        f"  verified error  {last['test_verified_error']:7.2%}  at eps {last['test_eps']:g}, by {bound}\n"
        f"checkpoint: {run.last_checkpoint}\n"
        f"next: python -m zoo.evaluate {run.last_checkpoint}"
    )


if __name__ == "__main__":
    app()
