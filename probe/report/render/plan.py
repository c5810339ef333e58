"""A plan in the terminal: its commands, numbered, each with its time and size below it, and the sums.

show_plan(plan, planner.machine, gpus=1, console=printer())
"""

from rich.console import Console
from rich.text import Text

from probe.planning import Machine, Plan, rounded, told
from probe.terminal import print_text


def show_plan(plan: Plan, machine: Machine, gpus: int, console: Console) -> None:
    """Commands are never cut or broken, so that they can be copied."""
    for reason in plan.missing:
        print_text(reason, console, "yellow")
    width = len(str(len(plan.steps)))
    for number, step in enumerate(plan.steps, 1):
        console.print(Text(f"{number:>{width}}. {step.command}"), soft_wrap=True)
        print_text(f"{'':{width}}  {told(step)}", console, "dim")
    if not plan.steps:
        console.print("there is nothing to run")
        return
    unknown = f", and {plan.unknown} of unknown length" if plan.unknown else ""
    devices = f" on {gpus} devices" if gpus > 1 else ""
    print_text(
        f"{len(plan.steps)} command(s) for {plan.tables} table(s): {rounded(plan.seconds(gpus))}{devices} "
        f"({machine.name}){unknown}; {plan.bytes / 1e9:,.1f} GB of features",
        console,
    )
    print_text("`probe plan --sh` writes them as a script; `--machine` names another machine", console, "dim")
