"""Examples of every direction, held out without a file."""

from ernest.data.store import ExampleStore
from tests.small import documents

TASKS = ("text→image", "image→text", "text→speech", "speech→text", "text", "text→video", "video→text")


def store_of(*places: int) -> ExampleStore:
    """Some of the documents, without a file."""
    examples = [documents()[place] for place in places]

    class Some(list):
        @property
        def tasks(self) -> dict[str, list[int]]:
            return {task: [i for i, one in enumerate(examples) if one.task == task] for task in TASKS}

    return Some(examples)  # pyright: ignore[reportReturnType]
