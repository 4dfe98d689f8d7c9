# Copyright 2026 The HuggingFace Team. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""
What the code of a data pipeline reaches: the global objects that functions use, those of the modules and functions
that they mention, and what classes have for all of their objects.

The code of libraries is not looked through. What is of a library is told by where its file is.
"""

import dis
import functools
import os
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..utils import is_accelerate_available
from .containers import is_data
from .kinds import bases_of, cached_by_identity, kind_of, namespace_of, qualified_name_of


if is_accelerate_available():
    import accelerate
else:
    accelerate = None

_NAMES_OF_FOLDERS = ("site-packages", "dist-packages")
_NAMES_OF_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_dict_of_module = types.ModuleType.__dict__["__dict__"].__get__
# Of a class, those that Python itself makes
_FUNCTIONS = frozenset(map(id, (types.FunctionType, staticmethod, classmethod, property)))
# What loads a global object, and the number of bits below the index of its name. `dis.get_instructions` takes 4 us for
# an instruction, which is too long.
_NAMES_OF_OPERATIONS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_GLOBAL_OPERATIONS = {
    dis.opmap[name]: 1 if name == "LOAD_GLOBAL" and sys.version_info >= (3, 11) else 0
    for name in _NAMES_OF_OPERATIONS
    if name in dis.opmap
}


def _folders_of(file: str) -> list[str]:
    """The folder of a file; twice, as the files of a library may be links to elsewhere, and its folder may be one."""
    folder = os.path.dirname(file)
    return [os.path.normcase(each(folder)) + os.sep for each in (os.path.abspath, os.path.realpath)]


@functools.lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    """Where installed libraries are, and those that this library uses if they are installed elsewhere."""
    paths = [sysconfig.get_path(name) for name in _NAMES_OF_PATHS]
    paths += [*getattr(site, "getsitepackages", list)(), site.getusersitepackages()]
    files = [os.path.join(path, "") for path in paths if path]
    files += [module.__file__ for module in (torch, np, accelerate) if module is not None]
    files.append(os.path.dirname(os.path.abspath(__file__)))  # whose folder is that of `transformers` itself
    return tuple({folder for file in files for folder in _folders_of(file)})


@functools.lru_cache(maxsize=4096)
def is_library_file(file: str) -> bool:
    # Libraries of another environment may be on the path, too
    folders = _folders_of(file)
    names = {name for folder in folders for name in folder.split(os.sep)}
    return not names.isdisjoint(_NAMES_OF_FOLDERS) or any(folder.startswith(_library_folders()) for folder in folders)


def is_library(namespace: dict[str, Any]) -> bool:
    """Whether a module of which these are the global objects is one of a library."""
    file = dict.get(namespace, "__file__")
    if type(file) is str:
        return is_library_file(file)
    name = dict.get(namespace, "__name__")
    return type(name) is str and name in sys.builtin_module_names  # a notebook has no file either


@cached_by_identity
def is_library_class(cls: type) -> bool:
    name = namespace_of(cls).get("__module__")
    module = sys.modules.get(name) if type(name) is str else None
    if not issubclass(type(module), types.ModuleType) or not is_library(_dict_of_module(module)):
        return False
    # Another module may have the same name
    functions = [value for value in namespace_of(cls).values() if type(value) is types.FunctionType]
    return all(is_library(function.__globals__) for function in functions)


@cached_by_identity
def users_bases_of(cls: type) -> tuple[type, ...]:
    """The classes of users among a class and its bases."""
    return tuple(base for base in bases_of(cls) if base is not object and not is_library_class(base))


@cached_by_identity
def _codes_in(code: types.CodeType) -> tuple[types.CodeType, ...]:
    """A function's code, and that of the functions and comprehensions in it."""
    inner = (each for each in code.co_consts if type(each) is types.CodeType)
    return (code, *(found for each in inner for found in _codes_in(each)))


@cached_by_identity
def _names_in(code: types.CodeType) -> tuple[str, ...]:
    """The names in a function: of global objects, of attributes and of what it imports."""
    return tuple(dict.fromkeys(name for each in _codes_in(code) for name in each.co_names))


@cached_by_identity
def _globals_in(code: types.CodeType) -> frozenset[str]:
    """Those of them that are of global objects."""
    if not (3, 10) <= sys.version_info < (3, 14):  # where it is known to be right
        instructions = (each for inner in _codes_in(code) for each in dis.get_instructions(inner))
        return frozenset(each.argval for each in instructions if each.opname in _NAMES_OF_OPERATIONS)
    found = set()
    for each in _codes_in(code):
        extension = 0
        for operation, argument in zip(each.co_code[::2], each.co_code[1::2]):
            argument |= extension
            extension = argument << 8 if operation == dis.EXTENDED_ARG else 0
            if operation in _GLOBAL_OPERATIONS:
                found.add(each.co_names[argument >> _GLOBAL_OPERATIONS[operation]])
    return frozenset(found)


def _has_state_of_its_own(function: types.FunctionType) -> bool:
    return bool(function.__closure__ or function.__dict__ or function.__defaults__ or function.__kwdefaults__)


def _is_searched(value: Any) -> bool:
    """Whether a global object is worth a look."""
    if is_data(value):
        return False
    if type(value) is types.FunctionType:
        return not is_library(value.__globals__) or _has_state_of_its_own(value)
    if issubclass(type(value), type):
        return bool(users_bases_of(value))
    return kind_of(type(value)) != "opaque"


def _is_users_module(value: Any) -> bool:
    return issubclass(type(value), types.ModuleType) and not is_library(_dict_of_module(value))


def _modules_in(function: types.FunctionType, names: tuple[str, ...]) -> list[types.ModuleType]:
    """The modules of users that a function mentions, or imports while it runs."""
    namespace, found = function.__globals__, []
    package = dict.get(namespace, "__package__")
    for name in names:
        candidates = [dict.get(namespace, name)]
        if candidates[0] is None:
            candidates = [sys.modules.get(name), sys.modules.get(f"{package}.{name}" if name else package)]
        found.extend(each for each in candidates if each is not None and _is_users_module(each))
    for module in found:  # which gets longer
        inner = (_dict_of_module(module).get(name) for name in names)
        found.extend(each for each in inner if _is_users_module(each) and all(each is not other for other in found))
    return found


def of_function(function: types.FunctionType, label: Callable[[str, Any], str]) -> Iterator[tuple[str, Any]]:
    """
    The global objects that a function of a user uses, by path.

    Args:
        function: The function.
        label: Returns a name for a namespace, which it has for itself, from its name and the object.
    """
    namespace, code = function.__globals__, function.__code__
    if is_library(namespace):
        return
    names = _names_in(code)
    for each in (namespace, *map(_dict_of_module, _modules_in(function, names))):
        # Before it is known what is there, as that may be made later, and another module may have the same name
        prefix = label(_name_of_module(dict.get(each, "__name__")), each)
        for name in names:
            value = dict.get(each, name)
            if issubclass(type(value), types.ModuleType) or not _is_searched(value):
                continue
            if each is namespace and name not in _globals_in(code):  # but merely an attribute of that name
                continue
            yield label_of_class(value, label) if issubclass(type(value), type) else f"{prefix}.{name}", value


def label_of_class(cls: type, label: Callable[[str, Any], str]) -> str:
    return label(f"{_name_of_module(namespace_of(cls).get('__module__'))}.{qualified_name_of(cls)}", cls)


def _name_of_module(name: Any) -> str:
    if type(name) is not str:
        return "?"
    return "__main__" if name == "__mp_main__" else name  # which is what a spawned process calls it


def of_class(cls: type, label: Callable[[str, Any], str]) -> Iterator[tuple[str, Any]]:
    """What a class of a user and its bases have for all of their objects, by path."""
    for base in users_bases_of(cls):
        if base is not cls:
            yield label_of_class(base, label), base
            continue
        name = label_of_class(cls, label)
        for attribute, value in list(namespace_of(cls).items()):
            # What is between underscores is Python's own, unless it is a method.
            is_users = not attribute.startswith("__") or id(type(value)) in _FUNCTIONS
            if is_users and not is_data(value):
                yield f"{name}.{attribute}", value
