"""Compiles every .hlsl file under a folder with DXC, with the options that wgpu gives it: python3 dxc.py LIBRARY FOLDER [sample]

LIBRARY is DXC's shared library, whose IDxcCompiler3 is called through its virtual table, for the wheel that carries it has no
door to shader models. Files under a folder called f16... get 16-bit types. `sample` takes, of each folder's files, those
whose names (VECTOR-TAIL-LANES8) bring two parts together that no name before has. The exit status is 1 if any file fails.
"""

import ctypes
import itertools
import multiprocessing
import pathlib
import sys
import uuid

CLSID_COMPILER = "73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"
IID_COMPILER3 = "228b4687-5a6a-4730-900c-9702b2203f54"
IID_RESULT = "58346cda-dde7-4497-9461-6f87af5e0659"
UTF8 = 65001
# Places in the virtual tables.
RELEASE, COMPILE = 2, 3
STATUS, ERRORS = 3, 5
BLOB_POINTER, BLOB_SIZE = 3, 4


class Buffer(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("size", ctypes.c_size_t), ("encoding", ctypes.c_uint32)]


def guid(text):
    return (ctypes.c_ubyte * 16).from_buffer_copy(uuid.UUID(text).bytes_le)


def call(object, place, result, *arguments):
    """Calls a method of a COM object; arguments come with their C types."""
    table = ctypes.cast(object, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    method = ctypes.CFUNCTYPE(result, ctypes.c_void_p, *(type for type, _ in arguments))(table[place])
    return method(object, *(value for _, value in arguments))


def start(library):
    global compiler
    create = ctypes.CDLL(library).DxcCreateInstance
    compiler = ctypes.c_void_p()
    if create(guid(CLSID_COMPILER), guid(IID_COMPILER3), ctypes.byref(compiler)):
        sys.exit("DXC makes no compiler")


def compile(path):
    """The file and what DXC has against it."""
    options = ["-T", "cs_6_2", "-E", "main", "-HV", "2018", "-no-warnings", "-Ges"]
    if any(part.startswith("f16") for part in path.parts):
        options.append("-enable-16bit-types")
    options = (ctypes.c_wchar_p * len(options))(*options)
    text = path.read_bytes()
    source = Buffer(text, len(text), UTF8)
    wanted = guid(IID_RESULT)
    result = ctypes.c_void_p()
    pointer = ctypes.c_void_p
    failed = call(
        compiler,
        COMPILE,
        ctypes.c_int32,
        (pointer, ctypes.addressof(source)),
        (pointer, ctypes.addressof(options)),
        (ctypes.c_uint32, len(options)),
        (pointer, None),
        (pointer, ctypes.addressof(wanted)),
        (pointer, ctypes.addressof(result)),
    )
    if failed:
        return path, f"no result: {failed & 0xFFFFFFFF:#x}"
    status = ctypes.c_int32()
    call(result, STATUS, ctypes.c_int32, (pointer, ctypes.addressof(status)))
    message = ""
    if status.value:
        blob = ctypes.c_void_p()
        call(result, ERRORS, ctypes.c_int32, (pointer, ctypes.addressof(blob)))
        if blob:
            size = call(blob, BLOB_SIZE, ctypes.c_size_t)
            message = ctypes.string_at(call(blob, BLOB_POINTER, ctypes.c_void_p), size).decode(errors="replace")
            call(blob, RELEASE, ctypes.c_uint32)
        message = message.strip() or f"status {status.value & 0xFFFFFFFF:#x}"
    call(result, RELEASE, ctypes.c_uint32)
    return path, message


def sample(files):
    seen = set()
    for path in files:
        parts = ["", *path.stem.split("-")]
        pairs = {(path.parent, *pair) for pair in itertools.combinations(parts, 2)}
        if not pairs <= seen:
            seen |= pairs
            yield path


def main():
    library, folder, *some = sys.argv[1:]
    files = sorted(pathlib.Path(folder).rglob("*.hlsl"))
    if some:
        files = list(sample(files))
    failed = 0
    with multiprocessing.Pool(initializer=start, initargs=[library]) as pool:
        for path, message in pool.imap_unordered(compile, files, chunksize=8):
            if message:
                failed += 1
                print(f"{path}: {message}")
    print(f"DXC: {len(files) - failed} of {len(files)} files compile{', a sample' if some else ''}")
    sys.exit(failed > 0 or not files)


if __name__ == "__main__":
    main()
