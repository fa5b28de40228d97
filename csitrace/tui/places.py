"""Ways from one screen to another: a screen says where the user wants to go, and the app knows how."""

from dataclasses import dataclass
from enum import Enum, auto

from textual.message import Message


class Place(Enum):
    """What is wanted; the name that belongs to it is in brackets."""

    VOLUME = auto()  # one volume (its key)
    DRIVER = auto()  # one driver (its name)
    NODE = auto()  # one node (its name)
    VOLUMES = auto()  # a list of volumes (a filter)


@dataclass
class Wanted(Message):
    """The user wants to go there. `name` "": nowhere, because what is shown has none."""

    place: Place
    name: str
