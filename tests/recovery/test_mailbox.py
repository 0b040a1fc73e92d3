"""What the driver of a training is told when its workers die, fail or refuse."""

import threading

import pytest

from ndm.errors import UserError
from ndm.runtime import fit
from ndm.runtime.channel import Mailbox


def test_the_first_group_of_workers_is_no_news_and_a_later_one_is() -> None:
    mailbox = Mailbox()
    mailbox.begin(0)
    assert mailbox.collect()[1::2] == ([], None)
    mailbox.begin(0)
    mailbox.begin(1280)
    _, warnings, _, _ = mailbox.collect()
    assert warnings == [
        "A worker died; the training begins again.",
        "A worker died; the training goes on from the checkpoint at 1280 examples.",
    ]
    assert mailbox.collect()[1::2] == ([], None)


def test_a_refusal_ends_the_training_at_once() -> None:
    mailbox = Mailbox()
    mailbox.refuse(UserError("The shard a is damaged."))
    _, _, _, end = mailbox.collect()
    assert isinstance(end, UserError)
    assert str(end) == "The shard a is damaged."


def test_what_was_said_before_the_end_is_told_also_where_both_come_at_once() -> None:
    mailbox, told = Mailbox(), []
    mailbox.warn("The checkpoint at 2560 examples could not be saved.")
    mailbox.refuse(UserError("The last checkpoint could not be saved."))
    with pytest.raises(UserError, match="The last checkpoint"):
        fit.watch(threading.Event(), mailbox, 1.0, lambda progress: None, told.append)
    assert told == ["The checkpoint at 2560 examples could not be saved."]


@pytest.mark.parametrize(
    ("attempts", "ends"),
    [
        ([(0, 0, "shapes differ"), (0, 1, "shapes differ")], False),  # both workers of one group
        ([(0, 0, "shapes differ"), (0, 0, "shapes differ")], True),  # the same place, the same failure
        ([(0, 0, "peer lost"), (1280, 0, "peer lost")], False),  # a step forward between them
        ([(0, 0, "peer lost at port 1"), (0, 0, "peer lost at port 2")], False),
    ],
)
def test_a_failure_that_repeats_itself_without_progress_ends_the_training(attempts, ends: bool) -> None:
    mailbox = Mailbox()
    for position, rank, failure in attempts:
        mailbox.begin(position)
        mailbox.fail(rank, failure)
    _, _, _, end = mailbox.collect()
    assert (end is not None) is ends
    if end is not None:
        assert not isinstance(end, UserError)
        assert "shapes differ" in str(end)
