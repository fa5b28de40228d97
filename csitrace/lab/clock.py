"""The lab's wall clock, in the API's two spellings of a time."""

from datetime import UTC, datetime, timedelta


def timestamp(after_seconds: float = 0) -> str:
    """metav1.Time: to the second, `2026-01-02T03:04:05Z`."""
    return f"{datetime.now(UTC) + timedelta(seconds=after_seconds):%Y-%m-%dT%H:%M:%SZ}"


def micro_timestamp() -> str:
    """metav1.MicroTime: `2026-01-02T03:04:05.678901Z`."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
