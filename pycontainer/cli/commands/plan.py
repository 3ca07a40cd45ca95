"""`pycontainer plan`: named sets of limits."""

from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli import output
from pycontainer.cli.context import Settings, complete_containers, complete_plans, pass_settings
from pycontainer.cli.group import Group
from pycontainer.cli.numbers import Count
from pycontainer.cli.report import for_each, show_warnings
from pycontainer.errors import InvalidInput
from pycontainer.units import parse_ratio

if TYPE_CHECKING:
    from pycontainer.hosting.plans import Plans

_SHOWN = ("memory", "cpus", "pids", "disk", "net_in", "net_out")
_PARTS_MOST = 100_000

plan_argument = click.argument("plan", shell_complete=complete_plans)
new_name_argument = click.argument("name", required=False)
force_option = click.option("--force", is_flag=True, help="Replace the plan NAME if it is there.")


@click.group(cls=Group)
def command() -> None:
    """List, show, apply and derive plans: named sets of limits, which inherit from each other.

    They are files in /etc/pycontainer/plans; docs/plans.md tells how they are written.
    """


@command.command
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@pass_settings
def list(settings: Settings, quiet: bool, form: str) -> None:
    """List the plans; what is wrong with their files is told, all of it.

    \b
    Example:
      pycontainer plan list
    """
    plans = _plans(settings)
    names = plans.names()
    if quiet:
        for name in names:
            click.echo(name)
    elif form == "json":
        output.show_json([_described(plans, name) for name in names])
    else:
        headers = ("NAME", "INHERITS", *(key.upper().replace("_", " ") for key in _SHOWN), "DESCRIPTION")
        output.table(headers, [_row(plans, name) for name in names])


@command.command
@click.argument("plan", nargs=-1, required=True, metavar="PLAN...", shell_complete=complete_plans)
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@pass_settings
def show(settings: Settings, plan: tuple[str, ...], form: str) -> None:
    """Show all limits of plans, and which plan each comes from.

    \b
    Example:
      pycontainer plan show small
    """
    plans = _plans(settings)
    described = [_described(plans, name) for name in plan]
    if form == "json":
        output.show_json(described)
        return
    from pycontainer.hosting.derive import plan_text

    for one in described:
        source = one["source"] or "built in"
        click.echo(f"# {one['name']}: {source}" + (f", inherits {one['inherits']}" if one["inherits"] else ""))
        lines = plan_text(one["limits"], one["description"]).splitlines()
        for line in lines:
            origin = one["origins"].get(line.strip().partition(":")[0]) if line.startswith("  ") else None
            foreign = origin not in (None, one["name"]) and not line.startswith("    ")
            click.echo(f"{line:<24} # {origin}" if foreign else line)


@command.command
@click.argument("targets", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete_containers)
@plan_argument
@click.option(
    "--tenant", "to_tenants", is_flag=True, help="The names are those of tenants: what they can share is applied."
)
@click.option("--transient", is_flag=True, help="For the present run alone; the next start has the old limits.")
@click.option("--force", is_flag=True, help="Also below what is in use: the kernel takes it back, and may kill for it.")
@pass_settings
def apply(
    settings: Settings, targets: tuple[str, ...], plan: str, to_tenants: bool, transient: bool, force: bool
) -> None:
    """Give containers the limits of a plan, at once if they run.

    Limits that the plan does not hold stay as they are. All of the plan's are set, or none.

    \b
    Examples:
      pycontainer plan apply web medium
      pycontainer plan apply --tenant acme large
    """
    plans = _plans(settings)
    limits, pool = plans.limits(plan), plans.pool(plan)
    with settings.client() as host:

        def change_container(name: str) -> None:
            container = host.container(name)
            spec: dict[str, Any] = container.inspect()["spec"]
            fitting = plans.expand(
                {"plan": plan, "networks": spec["networks"], "rootfs_writable": spec["rootfs_writable"] or None}
            )
            changes: dict[str, Any] = {key: value for key, value in fitting.items() if key in limits}
            show_warnings(container.set(transient=transient, force=force, **changes)["warnings"])

        def change_tenant(name: str) -> None:
            show_warnings(host.tenant(name).set(transient=transient, force=force, **pool)["warnings"])

        for_each(targets, change_tenant if to_tenants else change_container)


@command.command
@plan_argument
@click.argument("factor")
@new_name_argument
@force_option
@pass_settings
def scale(settings: Settings, plan: str, factor: str, name: str | None, force: bool) -> None:
    """Derive a plan with FACTOR times the amounts of another one.

    Without NAME it is printed, with it written to its file.

    Amounts are rounded down. CPU lists, ulimits and what only the kernel understands stay as they are.

    \b
    Example:
      pycontainer plan scale small 1.5 small-plus
    """
    from pycontainer.hosting.derive import plan_text, scaled

    try:
        thousandths = parse_ratio(factor)
    except InvalidInput as error:
        raise InvalidInput(f"factor: {error.message}", hint=error.hint, field="factor") from None
    limits = scaled(_plans(settings).limits(plan), thousandths)
    _keep(settings, plan_text(limits, f"{factor} times {plan}"), name, force)


@command.command
@click.option("--n", "count", type=Count(1, _PARTS_MOST), required=True, metavar="NUMBER", help="How many parts.")
@click.option("--free", is_flag=True, help="Parts of what is not promised yet, instead of the whole host.")
@new_name_argument
@force_option
@pass_settings
def split(settings: Settings, count: int, free: bool, name: str | None, force: bool) -> None:
    """Derive a plan of which NUMBER containers fill this host.

    Without NAME it is printed, with it written to its file.

    The ratios of /etc/pycontainer/capacity.yaml say how much of the host may be promised; without them, all of it.

    \b
    Example:
      pycontainer plan split --n 40 fortieth
    """
    from pycontainer.hosting.derive import part_of, plan_text

    with settings.client() as host:
        found = host.capacity(0.0)
    if found["problem"]:
        raise InvalidInput(found["problem"])
    limits = part_of(found["resources"], count, free=free)
    whole = "what is not promised yet" if free else "this host"
    _keep(settings, plan_text(limits, f"one of {count} parts of {whole}"), name, force)


def _plans(settings: Settings) -> "Plans":
    from pycontainer.hosting.plans import Plans  # yaml, 15 ms that --help does not need

    return Plans.load(settings.paths().plans_dir)


def _keep(settings: Settings, text: str, name: str | None, force: bool) -> None:
    if name is None:
        click.echo(text, nl=False)
        return
    from pycontainer.hosting.derive import write_plan

    click.echo(write_plan(settings.paths().plans_dir, name, text, replace=force))


def _described(plans: "Plans", name: str) -> dict[str, Any]:
    plan = plans.get(name)
    return {
        "name": name,
        "inherits": plan.inherits,
        "description": plan.description,
        "source": plan.source,
        "limits": plans.limits(name),
        "origins": plans.origins(name),
    }


def _row(plans: "Plans", name: str) -> tuple[str, ...]:
    plan, limits = plans.get(name), plans.limits(name)
    return (name, plan.inherits or "-", *(str(limits[key]) for key in _SHOWN), plan.description)
