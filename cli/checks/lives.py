"""How long a certificate still lives: an error once it has ended, a doubt in its last sixty days."""

from datetime import UTC, datetime

from cryptography import x509

from cli.checks.frame import Doubtful, Wrong
from cli.durations import about

DAY = 86_400.0
WARN_DAYS = 60.0
SKEW_SECONDS, WRONG_SKEW_SECONDS = 5.0, 60.0


def living(name: str, not_before: float, not_after: float, now: float) -> str:
    """Until when it lives; raises Wrong out of its time, and Doubtful in its last WARN_DAYS."""
    found = in_time(name, not_before, not_after, now)
    left = not_after - now
    if left < WARN_DAYS * DAY:
        raise Doubtful(f"{name}: ends in {about(left)}, on {_day(not_after)}")
    return found


def in_time(name: str, not_before: float, not_after: float, now: float) -> str:
    """Until when it lives; raises Wrong out of its time."""
    if now < not_before:
        raise Wrong(f"{name}: begins in {about(not_before - now)}; is this machine's clock right?")
    if now >= not_after:
        raise Wrong(f"{name}: ended {about(now - not_after)} ago")
    return f"{name}: until {_day(not_after)}"


def span(certificate: x509.Certificate) -> tuple[float, float]:
    """When a certificate begins and ends, seconds since the epoch."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins.timestamp(), ends.timestamp()


def agree(whose: str, theirs: float, ours: float) -> str:
    """By how much two clocks differ; raises Wrong and Doubtful if that is a minute, or seconds."""
    off = theirs - ours
    told = f"{whose} is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
    if abs(off) >= WRONG_SKEW_SECONDS:
        raise Wrong(told)
    if abs(off) >= SKEW_SECONDS:
        raise Doubtful(told)
    return ""


def _day(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d")
