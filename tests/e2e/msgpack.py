"""Just enough of msgpack to send events in it, written from its specification so that assay's own packer has a witness."""
import struct


def pack(value):
    """Texts, numbers, booleans, None, lists and dicts, each in its shortest form; bytes as bin."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _pack_int(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return _pack_head(len(data), 0xa0, 32, (0xd9, 0xda, 0xdb)) + data
    if isinstance(value, bytes):
        return _pack_head(len(value), None, 0, (0xc4, 0xc5, 0xc6)) + value
    if isinstance(value, list):
        return _pack_head(len(value), 0x90, 16, (None, 0xdc, 0xdd)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        items = b"".join(pack(key) + pack(item) for key, item in value.items())
        return _pack_head(len(value), 0x80, 16, (None, 0xde, 0xdf)) + items
    raise TypeError(type(value))


def _pack_head(count, fix, fix_end, sized):
    if count < fix_end:
        return bytes([fix | count])
    for code, form, end in zip(sized, (">B", ">H", ">I"), (1 << 8, 1 << 16, 1 << 32), strict=True):
        if code is not None and count < end:
            return bytes([code]) + struct.pack(form, count)
    raise OverflowError(count)


def _pack_int(value):
    if -32 <= value < 128:
        return struct.pack(">b", value) if value < 0 else bytes([value])
    unsigned = ((0xcc, ">B", 8), (0xcd, ">H", 16), (0xce, ">I", 32), (0xcf, ">Q", 64))
    signed = ((0xd0, ">b", 7), (0xd1, ">h", 15), (0xd2, ">i", 31), (0xd3, ">q", 63))
    for code, form, bits in unsigned if value >= 0 else signed:
        if -(1 << bits) <= value < 1 << bits:
            return bytes([code]) + struct.pack(form, value)
    raise OverflowError(value)
