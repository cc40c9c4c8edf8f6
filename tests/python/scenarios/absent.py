"""What clients ask for and this server does not have: 404, and the client's own error."""

from capability import (
    EPHEMERAL,
    KV,
    LOCKS,
    READS,
    STREAMS,
    TIMERS,
    WINDOWED_STREAMS,
    needs,
)
import verbs
from verbs import failure


def _unknown(error):
    assert error.response.status_code == 404 and error.code == "no_such_route", repr(error)


@needs(KV)
async def keys_and_values_are_absent(queen):
    from queen import KvError

    _unknown(await failure(queen.kv.get("ns", "key"), KvError))
    _unknown(await failure(queen.kv.put("ns", "key", 1, ttl_seconds=60), KvError))


@needs(TIMERS)
async def timers_are_absent(queen):
    from queen import TimerError

    timer = queen.timer("absent.timers").key("k").payload({"late": True}).after_ms(10)
    _unknown(await failure(timer.schedule(), TimerError))
    _unknown(await failure(queen.timers.cancel("absent.timers", "a/k"), TimerError))
    _unknown(await failure(queen.timers.peek("absent.timers", "k"), TimerError))
    _unknown(await failure(queen.timers.list("absent.timers"), TimerError))


@needs(EPHEMERAL)
async def ephemeral_queues_are_absent(queen):
    from queen import EphemeralError

    for call in (
        queen.ephemeral.configure("absent.ram", max_length=10),
        queen.ephemeral.push("absent.ram", [1]),
        queen.ephemeral.pop("absent.ram"),
        queen.ephemeral.ack("absent.ram", ["id"]),
        queen.ephemeral.reset("absent.ram"),
        queen.ephemeral.delete("absent.ram"),
    ):
        error = await failure(call, EphemeralError)
        # The client's own name for a 404 of this family, whatever its code.
        assert error.code == "ephemeral_unsupported" and error.status == 404, repr(error)
        assert error.__cause__.code == "no_such_route", repr(error.__cause__)


@needs(LOCKS)
async def locks_are_absent(queen):
    from queen import LockError

    _unknown(await failure(queen.lock("absent", ttl_seconds=30).acquire(), LockError))
    _unknown(await failure(queen.semaphore("absent", 2, ttl_seconds=30).acquire(), LockError))
    _unknown(await failure(queen.locks.get("absent"), LockError))


@needs(READS)
async def reads_by_offset_are_absent(queen):
    _unknown(await failure(queen.queue("absent.reads").fetch(["p"])))
    _unknown(await failure(queen.queue("absent.reads").changed_since(None)))


@needs(STREAMS)
async def streams_are_absent(queen):
    from queen import Stream

    stream = Stream.from_(queen.queue("absent.streams")).map(lambda message: message)
    error = await failure(stream.run("absent", url=verbs.URL))
    assert error.status == 404 and error.body["code"] == "no_such_route", repr(error)


@needs(WINDOWED_STREAMS)
async def the_first_streams_are_absent(queen):
    stream = queen.stream("absent", "shop").sources(["absent.windows"]).tumbling_time(5)
    error = await failure(stream.define())
    assert error.response.status_code == 404, repr(error)
    assert error.response.json()["code"] == "no_such_route", error.response.text
    window = await failure(queen.consumer("absent", "g").poll_window())
    assert window.response.json()["code"] == "no_such_route", window.response.text
