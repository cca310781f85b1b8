"""What a run finds, means to do and has done."""

from init.rules import Ruleset
from init.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from init.backends import Current, Step
    from init.config import Config
    from init.explain import Explained
    from init.host import Host
    from init.log import Log
    from init.rules import Rule
    from init.validate import Outcome


class Plan(Value):
    """What a run would do.

    backend: its name. there: what is there of ours in its store. elsewhere: what is in the others, by their backends'
    names; it goes. wanted: what shall be there.
    steps: all changes in order, none where all is right already. routing: those of them beside netfilter's rules.
    drift: why a run that may not replace refuses, as lines; empty where it does not. stays: rules of another
    configuration that are left where they are, in the kernel's chains and in chains of ours that are not wanted.
    """

    backend: str
    there: "Current"
    wanted: Ruleset
    steps: "tuple[Step, ...]"
    routing: "tuple[Step, ...]" = ()
    drift: "tuple[str, ...]" = ()
    stays: "tuple[Rule, ...]" = ()
    elsewhere: "tuple[tuple[str, Current], ...]" = ()

    @property
    def removed(self) -> "tuple[Rule, ...]":
        """Rules that are there and go, or would if this may replace."""
        kept = {*self.wanted.rules, *self.stays}
        moved = (r for _, found in self.elsewhere for r in found.rules)
        return (*(r for r in self.there.rules if r not in kept), *moved)


class Run:
    """A run so far; None is what it has not come to yet. changed: whether the kernel was changed; None if not known."""

    config: "Config | None" = None
    host: "Host | None" = None
    plan: Plan | None = None
    outcomes: "list[Outcome] | None" = None
    explained: "Explained | None" = None
    changed: "bool | None" = False

    def __init__(self, log: "Log") -> None:
        self.log = log
