"""What `hookweir plugin build` puts around app.py, so that a mistake says what and where.

An uncaught exception ends the call, and the component ends it without a word: here it is written to the plugin's log first,
from where the gateway takes the delivery's reason. What the component would end the call for without an exception, such as
the clock, raises one.
"""

import builtins
import io
import os
import sys
import time

from componentize_py_types import Err
from wit_world.imports import host
from wit_world.imports.host import Level
from wit_world.imports.types import Failure_Invalid, Failure_Unavailable

# A longer line counts against what the call may hand over, and the gateway keeps less of it anyway.
LONGEST = 16384
# Where the standard library and the bindings lie in the component.
NOT_THE_PLUGINS = ("/python/", "/world/", "/bundled/", "<frozen")
# What is of no use without a network.
NETWORK = {"_socket", "_ssl", "requests", "httpx", "aiohttp", "urllib3", "boto3", "botocore", "websockets", "grpc"}

NO_CLOCK = "a plugin has no clock: use the event's time, as in datetime.fromisoformat(event.time)"
NO_RANDOM = "a plugin has no randomness: seed it by the event, as in random.Random(event.id)"
NO_NETWORK = "a plugin has no network: what it needs comes with the event or its config"
NO_FILES = "a plugin has no files when it runs: read them at the top level of app.py, which runs when the plugin is built"
NO_IMPORT = "there are no files when the plugin runs: import it at the top level of app.py, which runs when the plugin is built"

runs = False
# Set where the call has failed: the interpreter then writes a traceback of the lines here.
failed = False
native_log = host.log


def log(level, message):
    """`host.log`. The component's own ends the call where an argument is wrong."""
    if not isinstance(level, Level):
        raise TypeError(f"host.log has no level {short(level)}: it is Level.DEBUG, Level.INFO, Level.WARN or Level.ERROR")
    if not isinstance(message, str):
        raise TypeError(f"host.log writes a text, not {short(message)}")
    if not runs:
        raise RuntimeError("there is no log while the plugin is built, which is when the top level of app.py runs")
    native_log(level, whole(message[:LONGEST]))


host.log = log


def whole(text):
    """Half a letter has no place in a text that the gateway takes: the component would end the call."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def short(value):
    """A value in a sentence."""
    try:
        text = repr(value)
    except Exception:
        text = f"an object of the class {type(value).__name__}"
    return text if len(text) <= 200 else text[:200] + "…"


class Lines(io.TextIOBase):
    """Standard output or standard error: its lines go to the log."""

    def __init__(self, level, at_build):
        self.level, self.at_build, self.line = level, at_build, ""

    def writable(self):
        return True

    def write(self, text):
        if not runs:
            return self.at_build.write(text)
        if not failed:
            *lines, self.line = (self.line + text).split("\n")
            for line in lines:
                log(self.level, line)
            if len(self.line) > LONGEST:
                self.end()
        return len(text)

    def flush(self):
        if not runs:
            self.at_build.flush()

    def end(self):
        """Writes the line that has no end yet."""
        if self.line:
            line, self.line = self.line, ""
            log(self.level, line)


sys.stdout = Lines(Level.INFO, sys.stdout)
sys.stderr = Lines(Level.ERROR, sys.stderr)
sys.stdin = None


def place(file, line):
    """A line of the plugin's. The folders of the build are /0, /1 and so on in the component."""
    return f"{file.split('/', 2)[-1]}:{line}"


def told(error):
    """An exception with the lines of the plugin's files that it went through, the innermost first."""
    places = []
    step = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        here = place(file, step.tb_lineno)
        if file.startswith("/") and file != __file__ and not file.startswith(NOT_THE_PLUGINS) and places[:1] != [here]:
            places.insert(0, here)
        step = step.tb_next
    try:
        text = str(error)[: LONGEST // 2]
    except Exception:
        text = "without a text"
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{text} at {', called at '.join(places[:5])}" if places else text


class Refused(Exception):
    """Why an answer is none, after who gave it."""


def guarded(role, call, event, checked):
    """Calls the plugin's own code, and answers what the gateway takes."""
    global runs, failed
    runs = True
    code = getattr(call, "__code__", None)
    who = f"the {role} at {place(code.co_filename, code.co_firstlineno)}" if code else f"the {role}"
    try:
        answer = checked(call(event))
        sys.stdout.end()
        sys.stderr.end()
        return answer
    except Err as failure:
        value = failure.value
        if isinstance(value, (Failure_Invalid, Failure_Unavailable)) and isinstance(value.value, str):
            sys.stdout.end()
            sys.stderr.end()
            raise Err(type(value)(whole(value.value))) from None
        said = f'{who} raised Err({short(value)}): raise Err(Failure_Invalid("why")) or Err(Failure_Unavailable("why"))'
    except Refused as refused:
        said = f"{who} {refused}"
    except BaseException as error:
        said = told(error)
    sys.stdout.end()
    sys.stderr.end()
    log(Level.ERROR, said)
    failed = True
    # It ends the call, which is no answer of the plugin's: the gateway counts it as a fault.
    raise RuntimeError(said)


def own(app, name, method):
    """The plugin's own object of this class."""
    if not callable(getattr(getattr(app, name, None), method, None)):
        raise RuntimeError(
            f"app.py has no class {name} with a method {method}: write it, or set the `world` in plugin.toml that does without"
        )
    return getattr(getattr(app, name)(), method)


def refuse_waiting(answer):
    if hasattr(answer, "__await__"):
        answer.close()
        raise Refused("is an `async def`, and nothing can be awaited: write it as a `def`")


def filtering(call, keep, drop):
    """A filter that checks what the plugin's own returns."""

    def checked(answer):
        refuse_waiting(answer)
        if isinstance(answer, drop) and isinstance(answer.value, str):
            return drop(whole(answer.value))
        if isinstance(answer, keep):
            return answer
        raise Refused(f'returned {short(answer)}: return Verdict_Keep() or Verdict_Drop("why")')

    return lambda event: guarded("filter", call, event, checked)


def transforming(call, outgoing):
    """A transformer that checks what the plugin's own returns."""

    def wrong(what, value, instead):
        raise Refused(f"returned {what}{short(value)}: {instead}")

    def checked(answer):
        refuse_waiting(answer)
        if not isinstance(answer, outgoing):
            wrong("", answer, "return Outgoing(content_type, headers, data)")
        content_type, headers, data = answer.content_type, answer.headers, answer.data
        if not isinstance(content_type, str):
            wrong("the content_type ", content_type, "it is a text")
        if not isinstance(headers, (list, tuple)):
            wrong("the headers ", headers, 'they are [("name", "value")], or []')
        for header in headers:
            if not isinstance(header, (list, tuple)) or [type(part) for part in header] != [str, str]:
                wrong("the header ", header, 'each is ("name", "value"), two texts')
        if not isinstance(data, (bytes, bytearray)):
            wrong("the data ", data, "text.encode() makes bytes of a text" if isinstance(data, str) else "it is bytes")
        return outgoing(whole(content_type), [(whole(name), whole(value)) for name, value in headers], bytes(data))

    return lambda event: guarded("transformer", call, event, checked)


# What Python has elsewhere and a plugin has not.


def refused(module, names, sentence):
    """Has functions say so. While the plugin is built, only the standard library may call them: it does at imports."""
    for name in names.split():
        original = getattr(module, name, None)
        if original is not None:
            setattr(module, name, refusing(sentence, original))


def refusing(sentence, original=None):
    def refuse(*given, **named):
        if not runs and original is not None and sys._getframe(1).f_code.co_filename.startswith(NOT_THE_PLUGINS):
            return original(*given, **named)
        raise RuntimeError(sentence)

    return refuse


def refused_of_now(name, position):
    """A function that takes the present where its argument at this position is not given."""
    original = getattr(time, name)

    def asked(*given):
        if len(given) <= position or given[position] is None:
            raise RuntimeError(NO_CLOCK)
        return original(*given)

    setattr(time, name, asked)


def refused_at_run(module, names):
    """Functions that work on files, which there are while the plugin is built."""
    for name in names.split():
        original = getattr(module, name, None)
        if original is not None:
            setattr(module, name, building(original))


def building(original):
    def call(*given, **named):
        if runs:
            raise RuntimeError(NO_FILES)
        return original(*given, **named)

    return call


refused(
    time,
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time thread_time_ns "
    "clock_gettime clock_gettime_ns sleep",
    NO_CLOCK,
)
for name, position in (("gmtime", 0), ("localtime", 0), ("ctime", 0), ("asctime", 0), ("strftime", 1)):
    refused_of_now(name, position)
refused(os, "urandom getrandom", NO_RANDOM)
refused_at_run(os, "open stat lstat listdir scandir mkdir remove unlink rename replace rmdir access getcwd chdir")
refused_at_run(io, "open")
builtins.open = io.open


def patch_random(module):
    class Random(module.Random):
        def seed(self, a=None, version=2):
            if a is None:
                raise RuntimeError(NO_RANDOM)
            super().seed(a, version)

    shared, seeded = module._inst, []

    def of_seeded(name):
        def call(*given, **named):
            if not seeded:
                raise RuntimeError(NO_RANDOM)
            return getattr(seeded[0], name)(*given, **named)

        return call

    def seed(a=None, version=2):
        seeded[:] = [Random(a)]

    for name, value in list(vars(module).items()):
        if getattr(value, "__self__", None) is shared:
            setattr(module, name, of_seeded(name))
    module.seed, module.Random = seed, Random


def patch_datetime(module):
    import _strptime  # which datetime.strptime would import when the plugin runs

    class datetime(module.datetime):
        now = utcnow = today = staticmethod(refusing(NO_CLOCK))

    datetime.__module__, datetime.__qualname__ = "datetime", "datetime"
    module.datetime = datetime


def patch_socket(module):
    class socket(module.socket):
        def __init__(self, *given, **named):
            raise RuntimeError(NO_NETWORK)

    module.socket = socket
    refused(module, "create_connection create_server getaddrinfo gethostbyname gethostname socketpair", NO_NETWORK)


def patch_linecache(module):
    """What shows the lines of a source in a traceback reads its file."""
    update, check = module.updatecache, module.checkcache
    module.updatecache = lambda *given, **named: [] if runs else update(*given, **named)
    module.checkcache = lambda *given, **named: None if runs else check(*given, **named)


def patch_logging(module):
    """Records go to the gateway's log at their level, and without a time."""

    class Clockless:
        time = time_ns = staticmethod(lambda: 0)

        def __getattr__(self, name):
            return getattr(time, name)

    def emitted(handler, record):
        least = ((module.ERROR, Level.ERROR), (module.WARNING, Level.WARN), (module.INFO, Level.INFO))
        level = next((level for number, level in least if record.levelno >= number), Level.DEBUG)
        log(level, handler.format(record))

    class StreamHandler(module.StreamHandler):
        def emit(self, record):
            if runs and isinstance(self.stream, Lines):
                emitted(self, record)
            else:
                super().emit(record)

    class LastResort(module.Handler):
        emit = emitted

    module.time = Clockless()
    module.StreamHandler = StreamHandler
    module.lastResort = LastResort(module.WARNING)


PATCHES = {
    "random": patch_random,
    "datetime": patch_datetime,
    "socket": patch_socket,
    "linecache": patch_linecache,
    "logging": patch_logging,
}


class Finder:
    """Patches modules as they are imported, and says why none can be while the plugin runs."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        of_network = name.split(".")[0] in NETWORK
        if name in sys.builtin_module_names or not (runs or of_network or name in PATCHES):
            return None
        if runs:
            raise ImportError(f"can't import {name}: {NO_NETWORK if of_network else NO_IMPORT}", name=name)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not Finder)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None and of_network:
            raise ModuleNotFoundError(f"No module named {name!r}: {NO_NETWORK}", name=name)
        if spec is not None and name in PATCHES:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                PATCHES[name](module)

            spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
for name, patch in PATCHES.items():
    if name in sys.modules:
        patch(sys.modules[name])
