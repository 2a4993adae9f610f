"""`python -m zoo.train`: certified training of a model of the zoo, from the command line."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from zoo import config, data, loop, recipes, state
from zoo.distributed import device_of, world
from zoo.terminal import application, legend, silence, training_display, typer, user_errors

app = application(headings=True)
Option = typer.Option


def main(**given: Any) -> None:
    """Train a model and certify it.

    Settings come from flags, else from the recipe or the file, else they have defaults per data set: those of the
    CROWN-IBP paper's small models, and for digits a run of about a minute. A killed run continues where it stopped.
    """
    file, resume = given.pop("config"), given.pop("resume")
    flags = {name: value for name, value in given.items() if value is not None}
    with user_errors():
        own = recipes.read_toml(file) if file is not None else {}
        recipe = flags.get("recipe", own.get("recipe"))
        below = recipes.read_recipe(recipe) if recipe is not None else {}
        run_training(config.resolve(flags, config.laid_over(below, own)), resume=resume)


def _options() -> inspect.Signature:
    """One option per setting, under the heading of its section; what is not given is None."""
    options: dict[str, Any] = {}
    for setting in fields(config.TrainingConfig):
        kind = config.SETTINGS[setting.name]
        about, section = setting.metadata["about"], setting.metadata["section"]
        option = Option(help=about, rich_help_panel=section.capitalize(), show_default=False)
        options[setting.name] = Annotated[kind | None, option]
    options["config"] = Annotated[Path | None, Option(help="TOML file of settings; flags override it.")]
    options["resume"] = Annotated[bool, Option(help="Continue from last.pt in the output directory if it exists.")]
    defaults = dict.fromkeys(options) | {"resume": True}
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [inspect.Parameter(name, keyword, default=defaults[name], annotation=kind) for name, kind in options.items()]
    )


main.__signature__ = _options()  # type: ignore[attr-defined]
main.__annotations__ = {name: option.annotation for name, option in _options().parameters.items()}
app.command()(main)


def run_training(settings: config.TrainingConfig, *, resume: bool) -> None:
    """Train, with progress on the terminal, and print the errors on the images watched at the end."""
    state.set_threads(settings.threads)
    device = device_of(settings.device)
    with world(device) as processes:
        run = state.begin(settings, data.load(settings.dataset, settings.data_dir), device, processes)
        say = print if processes.leads else silence
        if resume and run.last_checkpoint.exists():
            state.resume(run)
            say(f"resuming {run.last_checkpoint} after epoch {run.epoch} of {settings.epochs}")
        else:
            state.start(run)
        say(legend(settings))
        with training_display(settings, run.epoch, run.steps_per_epoch, leads=processes.leads) as display:
            loop.train(run, display)
        say(summary(run))


def summary(run: state.Run) -> str:
    """The result: errors, on the images watched, of the weights that the run came to."""
    last, (_, split) = run.outcome, run.watched
    assert last is not None
    config = run.config
    which = f"average of the last {config.average} epochs" if config.average else "weights after the last epoch"
    if config.choose == "best":
        which = "weights of the epoch that verified most of them"
    bound = {0.0: "IBP", 1.0: "CROWN-IBP"}.get(last["watched_beta"], f"{last['watched_beta']:g} CROWN-IBP + IBP")
    return (
        f"\n{last['watched']} split, {len(split.labels)} examples, {which}:\n"
        f"  standard error  {last['watched_standard_error']:7.2%}\n"
        f"  verified error  {last['watched_verified_error']:7.2%}  at eps {last['watched_eps']:g}, by {bound}\n"
        f"weights: {run.result}\n"
        f"next: python -m zoo.evaluate {run.result}"
    )


if __name__ == "__main__":
    app()
