"""The function that the user names: find it and call it. A fault in it is told as the user's own. Imports no torch."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from exact_resume.errors import UsageError

FORM = "MODULE:FUNCTION, where MODULE is a module that can be imported from the current folder, or a .py file"
FOLDER_PARAMETER = "output_dir"
PACKAGE = Path(__file__).resolve().parents[1]
# Lines of the user's traceback that are shown.
SHOWN_LINES = 8


def split(target: str) -> tuple[str, str]:
    """Return module, or path, and function of a target.

    Raises:
        UsageError: it has not both.
    """
    module, _, name = target.rpartition(":")
    if not module or not name:
        raise UsageError(f"{target!r} does not name a function; give {FORM}, such as my_training:make_trainer")
    return module, name


def load(target: str) -> Callable[..., Any]:
    """Return the function that a target names.

    Raises:
        UsageError: there is no such module or function, or it is not callable, or the module raises an error.
    """
    where, name = split(target)
    found = _load_file(Path(where)) if where.endswith(".py") else _import(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{target}: {where} has no {name}; {_there_is(sys.modules[_module_name(where)])}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{target} is of type {type(found).__name__}, not a function that returns a Trainer")
    return found


def _module_name(where: str) -> str:
    return Path(where).stem if where.endswith(".py") else where


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give {FORM}")
    # As if the file were run, so that it finds what lies beside it, and so do workers that are started by spawn.
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[path.stem]
        raise UsageError(told(f"importing {path}", error)) from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"no module {error.name}; run the command in the folder that holds it, or give the path of a .py file"
            ) from error
        raise UsageError(told(f"importing {name}", error)) from error


def _there_is(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    names = [name for name in names if inspect.isfunction(getattr(module, name))]
    return f"there is {', '.join(sorted(names))}" if names else "no function is defined there"


def call(function: Callable[..., Any], target: str, folder: Path) -> Any:
    """
    Call the user's function.

    Args:
        function: It takes a folder as the parameter `output_dir`, or as its only one without a default, or nothing.
        target: What it is called in messages.
        folder: Where the trainer has to write.

    Raises:
        UsageError: It takes something else, or raises an error.
    """
    args, kwargs = _arguments(function, target, str(folder))
    try:
        return function(*args, **kwargs)
    except (Exception, SystemExit) as error:
        raise UsageError(told(target, error)) from error


def _arguments(function: Callable[..., Any], target: str, folder: str) -> tuple[list[str], dict[str, str]]:
    parameters = inspect.signature(function).parameters
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in parameters.values() if p.default is p.empty and p.kind not in variadic]
    chosen = parameters.get(FOLDER_PARAMETER) or (required[0] if required else None)
    others = [p.name for p in required if p is not chosen]
    if others:
        raise UsageError(
            f"{target} needs {', '.join(p.name for p in required)}; it may need the folder for the output "
            f"({FOLDER_PARAMETER}) and nothing else: give the others defaults"
        )
    if chosen is None:
        return [], {}
    if chosen.kind is chosen.POSITIONAL_ONLY:
        return [folder], {}
    return [], {chosen.name: folder}


def told(what: str, error: BaseException) -> str:
    """Tell of an error in the user's code: what raised it, and the end of the traceback without frames of ours."""
    summary = traceback.TracebackException.from_exception(error)
    summary.stack = traceback.StackSummary.from_list([frame for frame in summary.stack if not _is_ours(frame)])
    lines = "".join(summary.format()).splitlines()[-SHOWN_LINES:]
    message = (str(error).splitlines() or ["no message"])[0]
    return "\n".join([f"{what} raised {type(error).__name__}: {message}", *(f"  {line}" for line in lines)])


def is_own_fault(error: BaseException) -> bool:
    """Whether an error was raised by this package and not by what it called."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)


def _is_ours(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is of this package, or of the machinery by which it imports."""
    is_import = frame.filename == importlib.__file__ or frame.filename.startswith("<frozen importlib")
    return is_import or Path(frame.filename).is_relative_to(PACKAGE)
