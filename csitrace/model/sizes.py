"""Sizes as people read them."""


def format_size(count: int) -> str:
    """Bytes in binary units: `512 B`, `1.5 KiB`, `20 MiB`."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.1f} {units[0]}" if value < 10 and units[0] != "B" else f"{value:.0f} {units[0]}"
