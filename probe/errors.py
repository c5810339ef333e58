"""What a user can get wrong and what can go wrong, as one sentence: what is wrong, where, and what to do.

The command line prints the sentence and exits with the error's code; a traceback is shown with `--debug` only.
"""

import difflib
import errno
from collections.abc import Iterable
from importlib.util import find_spec

SHOWN = 20  # known names in an error


class ProbeError(Exception):
    """Work that failed: exit code 1."""

    exit_code = 1


class UsageError(ProbeError):
    """Something that was asked for cannot be: exit code 2."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` where a known name is close, else the known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1) or [each for each in known if name and each.startswith(name)]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known[:SHOWN])}{more}."


def require_installed(package: str, extra: str, what: str) -> None:
    """Raises UsageError where a package is missing that comes with an extra of probe, which `what` needs."""
    if find_spec(package) is None:
        raise UsageError(f"{what} needs {package}, which is not installed; run: pip install 'probe[{extra}]'.")


ADVICE = {
    errno.ENOSPC: "make room and give the same command again",
    errno.EDQUOT: "make room and give the same command again",
    errno.EROFS: "name a folder that can be written to, with --out, --cache or --data-root",
    errno.EACCES: "ask for the right to it, or name another folder, with --out, --cache or --data-root",
    errno.EPERM: "ask for the right to it, or name another folder, with --out, --cache or --data-root",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EMFILE: "let this process open more files (ulimit -n)",
    errno.ENFILE: "let this machine open more files, or close some",
}


def system_sentence(error: OSError) -> str:
    """What the system said, where, and what to do."""
    said = (error.strerror or first_line(error)).rstrip(".")
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{said}; {ADVICE.get(error.errno or 0, 'mend that and give the same command again')}."


def first_line(error: BaseException) -> str:
    """What a library says of its error, as a part of a sentence."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
