"""The identity of a run: which code it names."""

from typing import Literal

from ablate.spec import identity
from ablate.spec.base import Spec
from ablate.spec.identity import code_digest
from tests.spec.plugin import Install


class Trial(Spec):
    kind: Literal["wavy", "plain"]


def test_the_code_of_a_plugin_in_use_is_part_of_a_trials_code(installed: Install) -> None:
    folder = installed({"ablate.heads": {"wavy": "wavy:Wavy"}}, {"wavy_net.py": "x = 1\n"})
    plain, first = code_digest(Trial(kind="plain")), code_digest(Trial(kind="wavy"))
    assert plain == code_digest()
    (folder / "wavy_net.py").write_text("x = 2\n")
    identity._code_digest.cache_clear()  # as another process would find it
    assert code_digest(Trial(kind="plain")) == plain  # installed, but not in use
    assert len({plain, first, code_digest(Trial(kind="wavy"))}) == 3
