"""Writes pytorch_model.bin, a small checkpoint in the format of `torch.save`, without torch: a ZIP archive of a pickle and the storages.

    python pytorch.py pytorch_model.bin
"""

import pickle
import struct
import sys
import zipfile
from collections import OrderedDict


class Storage:
    def __init__(self, kind, key, data, count):
        self.kind, self.key, self.data, self.count = kind, key, data, count


class Global:
    """Something that pickles as a name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.args = (storage, offset, shape, stride, False, OrderedDict())


# The Python pickler, since the C one does not let a global be an arbitrary name.
class Pickler(pickle._Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", Global("torch", value.kind), value.key, "cpu", value.count)
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(value.args)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


floats = Storage("FloatStorage", "0", struct.pack("<6f", 0, 1, 2, 3, 4, 5), 6)
longs = Storage("LongStorage", "1", struct.pack("<2q", -1, 1 << 40), 2)
# 1.0 and -2.5.
brains = Storage("BFloat16Storage", "2", bytes.fromhex("803f20c0"), 2)
state = OrderedDict(
    [
        ("rows.weight", Tensor(floats, 0, (2, 3), (3, 1))),
        ("columns.weight", Tensor(floats, 0, (3, 2), (1, 3))),
        ("tail", Tensor(floats, 4, (2,), (1,))),
        ("ids", Tensor(longs, 0, (2,), (1,))),
        ("norm.weight", Tensor(brains, 0, (2,), (1,))),
    ]
)
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_STORED) as archive:

    def add(name, data):
        archive.writestr(zipfile.ZipInfo(f"pytorch_model/{name}", (1980, 1, 1, 0, 0, 0)), data)

    with archive.open(zipfile.ZipInfo("pytorch_model/data.pkl", (1980, 1, 1, 0, 0, 0)), "w") as out:
        Pickler(out, protocol=2).dump(state)
    add("byteorder", b"little")
    for storage in (floats, longs, brains):
        add(f"data/{storage.key}", storage.data)
    add("version", b"3\n")
