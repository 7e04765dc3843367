"""What sessions rely on in a Stream, asked of every kind there is, the tests' own fake among them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.transport.stream import Stream, end, pause, reset, resume
from tests.support import ends
from tests.support.ends import Far, Recorder, TlsFiles
from tests.support.nats import until

pytestmark = pytest.mark.anyio

Kind = Callable[[Any], AbstractAsyncContextManager[tuple[Stream, Far]]]
BIG = bytes(range(256)) * 4096 * 2  # 2 MiB: more than any buffer between


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return TlsFiles(Path(tmp_path_factory.mktemp("tls")))


@pytest.fixture(params=["memory", "plain", "tls client", "tls server"])
def kind(request: pytest.FixtureRequest, files: TlsFiles) -> Kind:
    kinds: dict[str, Kind] = {
        "memory": ends.memory,
        "plain": ends.plain,
        "tls client": lambda user: ends.tls(user, files, server=False),
        "tls server": lambda user: ends.tls(user, files, server=True),
    }
    return kinds[request.param]


@pytest.fixture
def user() -> Recorder:
    return Recorder()


async def test_what_is_written_arrives_in_order_both_ways(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        for n in range(100):
            stream.write(b"%d," % n)
        await far.send(b"hello")
        await until(lambda: user.data == b"hello")

        assert await far.receive(290) == b"".join(b"%d," % n for n in range(100))


async def test_a_lot_arrives_whole_both_ways(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        stream.write(BIG)
        assert await far.receive(len(BIG)) == BIG

        await far.send(BIG)
        await until(lambda: len(user.data) == len(BIG))
        assert user.data == BIG


async def test_one_half_ends_and_the_other_goes_on(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        stream.write(b"said")
        stream.write_eof()
        assert await far.receive(100) == b"said"

        await far.send(b"still")
        await until(lambda: user.data == b"still")
        assert not stream.is_closing()
        await far.end()
        await until(lambda: user.events == ["end"])


async def test_the_peers_half_ends_and_ours_goes_on(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        await far.send(b"said")
        await far.end()
        await until(lambda: user.events == ["end"])
        assert user.data == b"said"

        stream.write(b"still")
        assert await far.receive(5) == b"still"
        stream.close()
        assert await far.receive(1) == b""
        await until(lambda: user.events == ["end", "lost"])
        assert user.error is None


async def test_a_user_that_does_not_stay_closes_when_the_peer_ends(kind: Kind) -> None:
    user = Recorder(stays=False)
    async with kind(user) as (stream, far):
        await far.end()
        await until(lambda: user.events == ["end", "lost"])

        assert stream.is_closing()
        assert user.error is None


async def test_a_user_that_comes_after_the_peers_end_is_told_when_it_reads(
    kind: Kind, user: Recorder
) -> None:
    async with kind(user) as (stream, far):
        await far.send(b"said")
        await far.end()
        await until(lambda: user.events == ["end"])
        pause(stream)
        successor = Recorder()
        stream.set_protocol(successor)
        resume(stream)
        await until(lambda: successor.events)

        assert successor.events == ["end"]
        assert user.events == ["end"]
        stream.write(b"answer")
        assert await far.receive(6) == b"answer"


async def test_close_sends_what_was_written_and_ends(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        stream.write(BIG)
        stream.close()
        assert stream.is_closing()

        assert await far.receive(len(BIG) + 1) == BIG
        await until(lambda: user.events[-1:] == ["lost"])
        assert user.error is None


async def test_reset_cannot_be_taken_for_an_end(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        stream.write(b"half")
        assert await far.receive(4) == b"half"
        reset(stream)
        assert stream.is_closing()

        with pytest.raises(ConnectionError):
            await far.receive(1)
        await until(lambda: user.events == ["lost"])


async def test_a_reset_by_the_peer_is_an_error(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        await far.reset()
        await until(lambda: user.events == ["lost"])

        assert user.error is not None
        assert stream.is_closing()


async def test_while_reading_is_paused_nothing_comes_and_later_all(
    kind: Kind, user: Recorder
) -> None:
    async with kind(user) as (stream, far):
        for _ in range(2):
            stream.pause_reading()
        async with anyio.create_task_group() as group:
            group.start_soon(far.send, BIG)
            await anyio.sleep(0.05)  # what must not come cannot be waited for
            assert len(user.data) <= 300_000
            for _ in range(2):
                stream.resume_reading()
            await until(lambda: len(user.data) == len(BIG))

        assert user.data == BIG


async def test_an_end_that_came_while_reading_was_paused_is_told_behind_the_data(
    kind: Kind, user: Recorder
) -> None:
    async with kind(user) as (stream, far):
        stream.pause_reading()
        await far.send(b"x" * 50_000)
        await far.end()
        await anyio.sleep(0.02)
        assert user.events == []
        stream.resume_reading()
        await until(lambda: user.events == ["end"])

        assert user.data == b"x" * 50_000


class Interrupter(Recorder):
    """Says its last word, and reads no more for now, in the middle of what it is told."""

    stream: Stream

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self.data) == len(data):
            self.stream.pause_reading()
            self.stream.write_eof()


async def test_half_closing_loses_nothing_that_was_on_its_way_to_us(kind: Kind) -> None:
    user = Interrupter()
    async with kind(user) as (stream, far):
        user.stream = stream
        await far.send(b"x" * 60_000)
        await until(lambda: user.data)
        assert await far.receive(1) == b""
        await far.send(b"y")
        stream.resume_reading()
        await far.end()
        await until(lambda: user.events == ["end"])

        assert user.data == b"x" * 60_000 + b"y"


async def test_a_peer_that_does_not_read_pauses_writing_until_it_does(
    kind: Kind, user: Recorder
) -> None:
    async with kind(user) as (stream, far):
        sent = 0
        while "pause" not in user.events:
            stream.write(b"x" * 10_000)
            sent += 10_000
            await anyio.lowlevel.checkpoint()
            assert sent < 20_000_000
        assert stream.get_write_buffer_size() > 0

        assert len(await far.receive(sent)) == sent
        await until(lambda: user.events == ["pause", "resume"])
        assert stream.get_write_buffer_size() == 0


async def test_nothing_is_done_to_a_stream_that_is_over(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, _):
        stream.abort()
        await until(lambda: user.events == ["lost"])
        for act in (pause, resume, end, reset):
            act(stream)
        stream.close()
        stream.abort()
        await anyio.lowlevel.checkpoint()

        assert user.events == ["lost"]
        assert stream.is_closing()


async def test_later_events_go_to_the_user_that_was_set_last(kind: Kind, user: Recorder) -> None:
    async with kind(user) as (stream, far):
        await far.send(b"first")
        await until(lambda: user.data == b"first")
        successor = Recorder()
        stream.set_protocol(successor)
        await far.send(b"second")
        await until(lambda: successor.data == b"second")
        await far.reset()
        await until(lambda: successor.events == ["lost"])

        assert user.events == []
