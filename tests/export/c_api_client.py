"""Runs a SavedModel through the TensorFlow C API, the loader that servers use.

A program of its own: `c_api_client.py REQUEST.json RESULT.json`. Only ctypes and numpy
are imported, neither Python TensorFlow nor Keras nor keras_sda. The request names the
export, and for every signature the tensors and the values to feed. A call that
`may_fail` is answered with its error code.
"""

import ctypes
import importlib.util
import json
import pathlib
import sys

import numpy as np

FLOAT, UINT8, STRING = 1, 4, 7  # TF_DataType
NUMPY = {FLOAT: np.float32, UINT8: np.uint8}
STRING_SIZE = 24  # sizeof(TF_TString)

pointer = ctypes.c_void_p


class Output(ctypes.Structure):
    """TF_Output: an output of an operation of the graph."""

    _fields_ = [("operation", pointer), ("index", ctypes.c_int)]


def load_library():
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), ctypes.RTLD_GLOBAL)
    for name in (
        "TF_NewStatus",
        "TF_NewGraph",
        "TF_NewSessionOptions",
        "TF_LoadSessionFromSavedModel",
        "TF_GraphOperationByName",
        "TF_AllocateTensor",
        "TF_TensorData",
        "TF_StringGetDataPointer",
    ):
        getattr(library, name).restype = pointer
    library.TF_Message.restype = ctypes.c_char_p
    for name in ("TF_Dim", "TF_StringGetSize", "TF_TensorByteSize"):
        getattr(library, name).restype = ctypes.c_size_t
    return library


class Session:
    """A SavedModel in a C session."""

    def __init__(self, path):
        self.library = load_library()
        self.status = pointer(self.library.TF_NewStatus())
        self.graph = pointer(self.library.TF_NewGraph())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = pointer(
            self.library.TF_LoadSessionFromSavedModel(
                pointer(self.library.TF_NewSessionOptions()),
                None,
                str(path).encode(),
                tags,
                1,
                self.graph,
                None,
                self.status,
            )
        )
        self.check()

    def check(self):
        if self.library.TF_GetCode(self.status):
            raise RuntimeError(self.library.TF_Message(self.status).decode())

    def output(self, name):
        operation, index = name.split(":")
        found = self.library.TF_GraphOperationByName(self.graph, operation.encode())
        if not found:
            raise RuntimeError(f"no operation {operation}")
        return Output(found, int(index))

    def tensor(self, value, dtype):
        """Makes a TF_Tensor from a numpy array or a list of bytes."""
        lib = self.library
        shape = [len(value)] if dtype == STRING else list(value.shape)
        dims = (ctypes.c_int64 * len(shape))(*shape)
        if dtype == STRING:
            size = STRING_SIZE * len(value)
        else:
            value = np.ascontiguousarray(value, NUMPY[dtype])
            size = value.nbytes
        tensor = pointer(
            lib.TF_AllocateTensor(dtype, dims, len(shape), ctypes.c_size_t(size))
        )
        data = lib.TF_TensorData(tensor)
        if dtype != STRING:
            ctypes.memmove(data, value.ctypes.data, size)
            return tensor
        for index, item in enumerate(value):
            place = pointer(data + STRING_SIZE * index)
            lib.TF_StringInit(place)
            lib.TF_StringCopy(place, item, ctypes.c_size_t(len(item)))
        return tensor

    def value(self, tensor):
        """Reads a TF_Tensor as nested lists."""
        lib = self.library
        shape = [lib.TF_Dim(tensor, i) for i in range(lib.TF_NumDims(tensor))]
        dtype, data = lib.TF_TensorType(tensor), lib.TF_TensorData(tensor)
        if dtype != STRING:
            size = lib.TF_TensorByteSize(tensor)
            array = np.frombuffer(ctypes.string_at(data, size), NUMPY[dtype])
            return array.reshape(shape).tolist()
        strings = []
        for index in range(int(np.prod(shape))):
            place = pointer(data + STRING_SIZE * index)
            text = ctypes.string_at(
                lib.TF_StringGetDataPointer(place), lib.TF_StringGetSize(place)
            )
            strings.append(text.decode())
        return np.array(strings, dtype=object).reshape(shape).tolist()

    def run(self, feeds, fetches):
        """`feeds` is a list of (tensor name, value, dtype), `fetches` of names."""
        inputs = (Output * len(feeds))(*[self.output(name) for name, _, _ in feeds])
        values = (pointer * len(feeds))(
            *[self.tensor(value, dtype).value for _, value, dtype in feeds]
        )
        outputs = (Output * len(fetches))(*[self.output(name) for name in fetches])
        results = (pointer * len(fetches))()
        self.library.TF_SessionRun(
            self.session,
            None,
            inputs,
            values,
            len(feeds),
            outputs,
            results,
            len(fetches),
            None,
            0,
            None,
            self.status,
        )
        self.check()
        return [self.value(pointer(result)) for result in results]


def main(request_file, result_file):
    request = json.loads(pathlib.Path(request_file).read_text())
    session = Session(request["export"])
    results = []
    for call in request["calls"]:
        if call["dtype"] == STRING:
            value = [pathlib.Path(file).read_bytes() for file in call["files"]]
        else:
            value = np.load(call["files"][0])
        names = list(call["outputs"])
        tensors = [call["outputs"][name] for name in names]
        try:
            outputs = session.run([(call["input"], value, call["dtype"])], tensors)
        except RuntimeError:
            if not call.get("may_fail"):
                raise
            results.append({"code": session.library.TF_GetCode(session.status)})
            continue
        results.append(dict(zip(names, outputs, strict=True)))
    loaded = {name.split(".")[0] for name in sys.modules}
    answer = {
        "results": results,
        "forbidden": sorted(loaded & {"tensorflow", "keras", "keras_sda"}),
    }
    pathlib.Path(result_file).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
