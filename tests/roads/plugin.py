"""What was seen on the roads of a test run: a table at its end, and with CSITRACE_RECORD=roads it is kept for docs/roads.md."""

import os
from dataclasses import dataclass, field

import pytest

from tests.roads import record, table
from tests.roads.catalogue import ROADS
from tests.roads.table import Journey

_NAME = "roads"


@dataclass(eq=False)  # pytest keeps plugins by identity
class Summary:
    """A plugin of pytest, there once a road was walked."""

    journeys: list[Journey] = field(default_factory=list)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, and the recording."""
        if os.environ.get("CSITRACE_RECORD") == "roads":
            record.keep(self.journeys, ROADS)
        titles = {road.name: road.title for road in ROADS}
        terminalreporter.section("roads")
        terminalreporter.write_line(table.terminal(self.journeys, titles))


def note(config: pytest.Config, journey: Journey) -> None:
    """Keep what was seen on a road that was walked to its end, for the table."""
    summary = config.pluginmanager.get_plugin(_NAME)
    if summary is None:
        summary = Summary()
        config.pluginmanager.register(summary, _NAME)
    summary.journeys.append(journey)
