"""What a version of the client can do, asked of the client that is installed.

Each capability says from which version to which it is there, and has a question that the client
itself answers. The runner refuses a client that denies what its version has, so a scenario can
never be skipped by a question that is asked wrongly.
"""

import importlib.metadata
import importlib.util
import inspect

from queen import Queen
from queen.builders.queue_builder import QueueBuilder
from queen.builders.transaction_builder import TransactionBuilder
from queen.consumer.consumer_manager import ConsumerManager

VERSIONS = ["0.7.4", "0.15.0", "1.3.0", "2.6.0"]
VERSION = importlib.metadata.version("queen-mq")


class Capability:
    """Something that some versions have; `present` once `ask_all` has run."""

    every = []

    def __init__(self, name, question, since=VERSIONS[0], until=VERSIONS[-1]):
        self.name = name
        self.question = question
        first, last = VERSIONS.index(since), VERSIONS.index(until)
        self.versions = VERSIONS[first : last + 1]
        self.present = None
        Capability.every.append(self)


async def ask_all():
    """Asks the client everything; the capabilities about which it and its version disagree."""
    disagreed = []
    for capability in Capability.every:
        answer = capability.question()
        if inspect.isawaitable(answer):
            answer = await answer
        capability.present = bool(answer)
        if capability.present != (VERSION in capability.versions):
            disagreed.append(capability.name)
    return disagreed


def needs(*capabilities):
    """Marks a scenario that only means something to clients with these capabilities."""

    def mark(scenario):
        scenario.needs = capabilities
        return scenario

    return mark


def _module(name):
    return lambda: importlib.util.find_spec(name) is not None


def _has(owner, name):
    return lambda: hasattr(owner, name)


def _takes(function, name):
    return lambda: name in inspect.signature(function).parameters


class _Answering:
    """A transport that answers every request alike, for questions about how answers are read."""

    def __init__(self, answer):
        self.answer = answer

    async def post(self, *_args, **_options):
        return self.answer


def _client_of(answer):
    queen = object.__new__(Queen)
    queen._http_client = _Answering(answer)
    queen._admin = None
    return queen


MESSAGE = {"transactionId": "t", "partitionId": "p", "leaseId": "l"}


async def _reads_batch_answers():
    queen = _client_of([{"success": True, "error": None}])
    return (await queen.ack([MESSAGE]))["success"]


async def _sees_batch_refusals():
    queen = _client_of([{"success": False, "error": "no"}])
    answer = await queen.ack([MESSAGE])
    return not answer["success"] and "results" in answer


async def _sees_refused_renewals():
    queen = _client_of({"success": False, "leaseId": "l", "newExpiresAt": None})
    return not (await queen.renew("l"))["success"]


async def _nacks_say_why():
    said = []

    class Recording:
        async def ack(self, _message, _status, context):
            said.append(context)
            return {"success": True}

    async def fail(_message):
        raise RuntimeError("why")

    await ConsumerManager(None, Recording())._process_message({}, fail, True, None)
    return said[0].get("error") == "why"


async def _each_stops_after_a_nack():
    class Refusing:
        async def ack(self, _message, _status, _context):
            return {"success": True}

    async def fail(_message):
        raise RuntimeError("why")

    manager = ConsumerManager(None, Refusing())
    return await manager._process_message({}, fail, True, None) is False


async def _each_goes_on_elsewhere():
    """Whether a failure in one partition leaves the messages of another in the batch."""
    handled = []

    class Delivering:
        async def get(self, *_args, **_options):
            return {"messages": [{"partitionId": partition} for partition in ("a", "a", "b")]}

    class Taking:
        async def ack(self, _message, _status, _context):
            return {"success": True}

    async def fail_in_a(message):
        handled.append(message["partitionId"])
        if message["partitionId"] == "a":
            raise RuntimeError("why")

    options = {"queue": "q", "batch": 3, "each": True, "limit": 2, "autopilot": False}
    await ConsumerManager(Delivering(), Taking()).start(fail_in_a, options)
    return handled == ["a", "b"]


def _mints_transaction_ids():
    builder = TransactionBuilder(None)
    builder.queue("q").push({"data": 1})
    return "transactionId" in builder._operations[0]["items"][0]


def _maintenance():
    return hasattr(Queen, "admin") and hasattr(_client_of({}).admin, "set_maintenance_mode")


async def _buries_by_hand():
    if not hasattr(Queen, "admin"):
        return False
    try:
        return await _client_of("sent").admin.move_message_to_dlq("p", "t") == "sent"
    except NotImplementedError:
        return False


async def _clears():
    if not hasattr(Queen, "admin"):
        return False
    queen = _client_of("sent")
    # Nothing is sent: the transport answers alike.
    queen._http_client.delete = queen._http_client.post
    try:
        return await queen.admin.clear_queue("q") == "sent"
    except NotImplementedError:
        return False


def _tells_depth():
    return hasattr(Queen, "admin") and hasattr(_client_of({}).admin, "get_queue_depth")


POLL_TIMEOUT = Capability("a time-out of polls", _has(QueueBuilder, "timeout_millis"), "0.15.0")
PARTITIONS = Capability("several partitions", _has(QueueBuilder, "partitions"), "0.15.0")
ADMIN = Capability("admin calls", _has(Queen, "admin"), "0.15.0")
HEADERS = Capability("headers and a token", _takes(Queen.__init__, "bearer_token"), "0.15.0")
TRANSACTION_GROUPS = Capability(
    "groups in transactions", _takes(TransactionBuilder.ack, "context"), "0.15.0"
)
BATCH_ANSWERS = Capability("answers of a batch ack are read", _reads_batch_answers, "0.15.0")
MAINTENANCE = Capability("the maintenance switches", _maintenance, "0.15.0", "1.3.0")
BURIES_BY_HAND = Capability("dead letters by hand", _buries_by_hand, "0.15.0", "1.3.0")
CLEARS = Capability("queues are cleared", _clears, "0.15.0", "1.3.0")
DEPTH = Capability("the depth of a queue", _tells_depth, "1.3.0")
STREAMS = Capability("streams", _module("queen.streams"), "0.15.0")
WINDOWED_STREAMS = Capability("the first streams", _has(Queen, "stream"), "0.7.4", "0.7.4")
AUTOPILOT = Capability("autopilot", _has(QueueBuilder, "autopilot"), "1.3.0")
CONFLATION = Capability("conflation", _has(QueueBuilder, "conflation"), "1.3.0")
KV = Capability("keys and values", _has(Queen, "kv"), "1.3.0")
TIMERS = Capability("timers", _has(Queen, "timers"), "1.3.0")
EPHEMERAL = Capability("ephemeral queues", _has(Queen, "ephemeral"), "1.3.0")
RETRY_LIMITED = Capability("its own pace for 429", _takes(Queen.__init__, "retry_429"), "1.3.0")
NACKS_SAY_WHY = Capability("a handler's error is sent", _nacks_say_why, "1.3.0")
EACH_STOPS = Capability("each() stops after a failure", _each_stops_after_a_nack, "1.3.0")
EACH_GOES_ON = Capability(
    "each() goes on with other partitions", _each_goes_on_elsewhere, "2.6.0"
)
MINTS_IDS = Capability("transactionIds in transactions", _mints_transaction_ids, "1.3.0")
BATCH_REFUSALS = Capability("refusals in a batch ack are seen", _sees_batch_refusals, "2.6.0")
RENEWAL_REFUSALS = Capability("refused renewals are seen", _sees_refused_renewals, "2.6.0")
COMMIT_ON_DELIVERY = Capability("autoAck", _has(QueueBuilder, "commit_on_delivery"), "2.6.0")
SUPERVISION = Capability("supervision", _has(QueueBuilder, "supervision"), "2.6.0")
LOCKS = Capability("locks", _has(Queen, "locks"), "2.6.0")
READS = Capability("reads by offset", _has(QueueBuilder, "fetch"), "2.6.0")
WIRE_FORMS = Capability("binary forms", _takes(Queen.__init__, "framed_pop"), "2.6.0")
