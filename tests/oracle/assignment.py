#!/usr/bin/python3
"""The assignment function of docs/assignment.md, written from that page alone, and the test vectors it makes.

Nothing here is shared with engine/assign.c: XXH3 too is spelled out from its specification, in plain integers, so that a
fault of the library, or of how we call it, cannot hide. Standard library only.

    tests/oracle/assignment.py > tests/data/assignment_vectors.json
    tests/oracle/assignment.py --check     compare the file with what would be made, and XXH3 with known answers
"""
import json
import os
import struct
import sys

MASK64 = (1 << 64) - 1
PRIME32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
PRIME64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
PRIME_MX1 = 0x165667919E3779F9
PRIME_MX2 = 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def swap32(value):
    return int.from_bytes(value.to_bytes(4, "little"), "big")


def swap64(value):
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def rotate_left(value, count):
    return ((value << count) | (value >> (64 - count))) & MASK64


def fold(a, b):
    """The 128-bit product, its halves xored."""
    product = a * b
    return (product & MASK64) ^ (product >> 64)


def avalanche(value):
    value ^= value >> 37
    value = value * PRIME_MX1 & MASK64
    return value ^ (value >> 32)


def avalanche_xxh64(value):
    value ^= value >> 33
    value = value * PRIME64[1] & MASK64
    value ^= value >> 29
    value = value * PRIME64[2] & MASK64
    return value ^ (value >> 32)


def xxh3_1_to_3(data, seed):
    combined = data[0] << 16 | data[len(data) >> 1] << 24 | data[-1] | len(data) << 8
    flip = (u32(SECRET, 0) ^ u32(SECRET, 4)) + seed & MASK64
    return avalanche_xxh64(combined ^ flip)


def xxh3_4_to_8(data, seed):
    seed ^= swap32(seed & 0xFFFFFFFF) << 32
    flip = (u64(SECRET, 8) ^ u64(SECRET, 16)) - seed & MASK64
    value = u32(data, len(data) - 4) + (u32(data, 0) << 32) ^ flip
    value ^= rotate_left(value, 49) ^ rotate_left(value, 24)
    value = value * PRIME_MX2 & MASK64
    value ^= (value >> 35) + len(data)
    value = value * PRIME_MX2 & MASK64
    return value ^ (value >> 28)


def xxh3_9_to_16(data, seed):
    flip_low = (u64(SECRET, 24) ^ u64(SECRET, 32)) + seed & MASK64
    flip_high = (u64(SECRET, 40) ^ u64(SECRET, 48)) - seed & MASK64
    low = u64(data, 0) ^ flip_low
    high = u64(data, len(data) - 8) ^ flip_high
    return avalanche(len(data) + swap64(low) + high + fold(low, high) & MASK64)


def mix_16(data, at, secret_at, seed):
    low = u64(data, at) ^ (u64(SECRET, secret_at) + seed & MASK64)
    high = u64(data, at + 8) ^ (u64(SECRET, secret_at + 8) - seed & MASK64)
    return fold(low, high)


def xxh3_17_to_128(data, seed):
    total = len(data) * PRIME64[0]
    for i in range((len(data) - 1) // 32, -1, -1):
        total += mix_16(data, 16 * i, 32 * i, seed)
        total += mix_16(data, len(data) - 16 * (i + 1), 32 * i + 16, seed)
    return avalanche(total & MASK64)


def xxh3_129_to_240(data, seed):
    total = len(data) * PRIME64[0]
    for i in range(8):
        total += mix_16(data, 16 * i, 16 * i, seed)
    total = avalanche(total & MASK64)
    for i in range(8, len(data) // 16):
        total += mix_16(data, 16 * i, 16 * (i - 8) + 3, seed)
    total += mix_16(data, len(data) - 16, 136 - 17, seed)
    return avalanche(total & MASK64)


def xxh3_long(data, seed):
    """Above 240 bytes; here up to one block (1024 bytes), which is all that a user id needs."""
    assert len(data) <= 1024
    secret = bytearray()
    for at in range(0, len(SECRET), 16):
        secret += struct.pack("<QQ", u64(SECRET, at) + seed & MASK64, u64(SECRET, at + 8) - seed & MASK64)
    lanes = [PRIME32[2], PRIME64[0], PRIME64[1], PRIME64[2], PRIME64[3], PRIME32[1], PRIME64[4], PRIME32[0]]

    def accumulate(at, secret_at):
        for i in range(8):
            value = u64(data, at + 8 * i)
            keyed = value ^ u64(secret, secret_at + 8 * i)
            lanes[i ^ 1] = lanes[i ^ 1] + value & MASK64
            lanes[i] = lanes[i] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK64

    for stripe in range((len(data) - 1) // 64):
        accumulate(64 * stripe, 8 * stripe)
    accumulate(len(data) - 64, len(secret) - 64 - 7)
    total = len(data) * PRIME64[0]
    for i in range(4):
        total += fold(lanes[2 * i] ^ u64(secret, 11 + 16 * i), lanes[2 * i + 1] ^ u64(secret, 11 + 16 * i + 8))
    return avalanche(total & MASK64)


def xxh3_64(data, seed=0):
    if len(data) == 0:
        return avalanche_xxh64(seed ^ u64(SECRET, 56) ^ u64(SECRET, 64))
    for most, function in ((3, xxh3_1_to_3), (8, xxh3_4_to_8), (16, xxh3_9_to_16), (128, xxh3_17_to_128),
                           (240, xxh3_129_to_240), (1024, xxh3_long)):
        if len(data) <= most:
            return function(data, seed)
    raise ValueError("longer than any user id")


def point(salt, purpose, user_id):
    """A whole number of 2^-53ths."""
    seed = xxh3_64(struct.pack("<Q", salt) + purpose)
    return xxh3_64(user_id, seed) >> 11


def layer_point(layer, user_id):
    """The same for all experiments of a layer: the hash of its name takes the salt's place."""
    return point(xxh3_64(layer), b"layer", user_id)


def holdout_point(holdout, user_id):
    """The same for all experiments that name a holdout group."""
    return point(xxh3_64(holdout), b"holdout", user_id)


def allocation_at(traffic_allocation, ramp, now):
    """That of the last step whose time has come."""
    for at, allocation in ramp:
        if at <= now:
            traffic_allocation = allocation
    return traffic_allocation


def is_let_in(salt, traffic_allocation, user_id, layer=None, layer_start=0.0, holdout=None, holdout_share=0.0, ramp=(), now=0):
    """Is the user outside of the holdout group, and in the experiment's share of the traffic, or in its slice of the layer?"""
    traffic_allocation = allocation_at(traffic_allocation, ramp, now)
    if holdout is not None and holdout_point(holdout.encode(), user_id) * 2.0**-53 < holdout_share:
        return False
    if layer is None:
        return point(salt, b"traffic", user_id) * 2.0**-53 < traffic_allocation
    inside = layer_point(layer.encode(), user_id) * 2.0**-53 - layer_start
    return 0.0 <= inside < traffic_allocation


def assign(weights, user_id, salt, traffic_allocation, **place):
    """The index of the variant, or None where the user is not let in."""
    if not is_let_in(salt, traffic_allocation, user_id, **place):
        return None
    variant_point = point(salt, b"variant", user_id) * 2.0**-53
    cumulative = 0.0
    last_open = None
    for index, weight in enumerate(weights):
        if weight > 0:
            cumulative += weight
            last_open = index
            if variant_point < cumulative:
                return index
    return last_open


SALTS = (0, 1, 0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF, 0x9B05688C2B3E6C1F)

USER_IDS = ["0", "1", "42", "u1", "abc", "user", "1000000", "user-123", "user-1234", "0123456789abcdef",
            "0123456789abcdef0", "alice@example.com", "01890a5d-ac96-774b-bcce-b302099a8057", "user with spaces",
            "\u00fcber@example.org", "\u7528\u6237", "\U0001f600"]

# Every length at which XXH3 takes another way, and its neighbours.
LENGTHS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 96, 97, 128, 129, 160, 192, 239, 240, 241, 254, 255)

EXPERIMENTS = (
    {"salt": 0x0123456789ABCDEF, "traffic_allocation": 1.0, "weights": [0.5, 0.5]},
    {"salt": 0x0123456789ABCDEF, "traffic_allocation": 0.2, "weights": [0.5, 0.25, 0.25]},
    {"salt": 0x9B05688C2B3E6C1F, "traffic_allocation": 0.5, "weights": [0.1] * 10},
    {"salt": 7, "traffic_allocation": 1.0, "weights": [0.0, 0.333333, 0.0, 0.333333, 0.333333, 0.0]},
    {"salt": 8, "traffic_allocation": 0.0, "weights": [0.5, 0.5]},
    {"salt": 9, "traffic_allocation": 1.0, "weights": [1.0, 0.0]},
    {"salt": 10, "traffic_allocation": 0.3, "layer": "checkout", "layer_start": 0.0, "weights": [0.5, 0.5]},
    {"salt": 11, "traffic_allocation": 0.7, "layer": "checkout", "layer_start": 0.3, "weights": [0.25, 0.75]},
    {"salt": 12, "traffic_allocation": 0.5, "layer": "\u00dcbersicht", "layer_start": 0.5, "weights": [0.5, 0.5]},
    {"salt": 13, "traffic_allocation": 1.0, "holdout": "q4", "holdout_share": 0.3, "weights": [0.5, 0.5]},
    {"salt": 14, "traffic_allocation": 0.1, "ramp": [[1000, 0.3], [2000, 0.8]], "now": 999, "weights": [0.5, 0.5]},
    {"salt": 14, "traffic_allocation": 0.1, "ramp": [[1000, 0.3], [2000, 0.8]], "now": 1000, "weights": [0.5, 0.5]},
    {"salt": 14, "traffic_allocation": 0.1, "ramp": [[1000, 0.3], [2000, 0.8]], "now": 3000, "weights": [0.5, 0.5]},
    {"salt": 15, "traffic_allocation": 0.1, "layer": "checkout", "layer_start": 0.5, "ramp": [[1000, 0.3], [2000, 0.5]],
     "now": 1999, "weights": [0.5, 0.5]},
)

HOLDOUTS = ("q4", "\u00dcbersicht", "h" * 100)
LAYERS = ("a", "checkout", "\u00dcbersicht", "the first screen", "l" * 100)


def user_ids():
    ids = [text.encode() for text in USER_IDS]
    for length in LENGTHS:
        ids.append(bytes(ord("a") + (i * 7 + length) % 26 for i in range(length)))
    return ids


def lines():
    """One vector a line, so that a reader without a JSON parser can take them too."""
    yield '{"about": "Test vectors of docs/assignment.md, made by tests/oracle/assignment.py.",'
    yield ' "points": ['
    points = [{"salt": f"{salt:016x}", "user_id_hex": user_id.hex(), "user_id": user_id.decode(),
               "traffic": f"{point(salt, b'traffic', user_id):014x}",
               "variant": f"{point(salt, b'variant', user_id):014x}"} for salt in SALTS for user_id in user_ids()]
    for i, vector in enumerate(points):
        yield "  " + json.dumps(vector) + ("," if i + 1 < len(points) else "")
    yield ' ],'
    yield ' "layers": ['
    layers = [{"layer_hex": layer.encode().hex(), "user_id_hex": user_id.hex(),
               "point": f"{layer_point(layer.encode(), user_id):014x}"} for layer in LAYERS for user_id in user_ids()]
    for i, vector in enumerate(layers):
        yield "  " + json.dumps(vector) + ("," if i + 1 < len(layers) else "")
    yield ' ],'
    yield ' "holdouts": ['
    holdouts = [{"holdout_hex": holdout.encode().hex(), "user_id_hex": user_id.hex(),
                 "point": f"{holdout_point(holdout.encode(), user_id):014x}"} for holdout in HOLDOUTS for user_id in user_ids()]
    for i, vector in enumerate(holdouts):
        yield "  " + json.dumps(vector) + ("," if i + 1 < len(holdouts) else "")
    yield ' ],'
    yield ' "experiments": ['
    for i, experiment in enumerate(EXPERIMENTS):
        head = dict(experiment, salt=f"{experiment['salt']:016x}")
        yield "  " + json.dumps(head, ensure_ascii=False)[:-1] + ', "assignments": ['
        ids = [f"user-{n}".encode() for n in range(40)]
        for k, user_id in enumerate(ids):
            variant = assign(user_id=user_id, **experiment)
            vector = {"user_id": user_id.decode(), "variant": variant}
            yield "   " + json.dumps(vector) + ("," if k + 1 < len(ids) else "")
        yield "  ]}" + ("," if i + 1 < len(EXPERIMENTS) else "")
    yield ' ]}'


def check(path):
    text = "".join(line + "\n" for line in lines())
    json.loads(text)
    with open(path, encoding="utf-8") as file:
        if file.read() != text:
            print(f"{path}: not what this program makes", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        here = os.path.dirname(os.path.abspath(__file__))
        sys.exit(check(os.path.join(here, "..", "data", "assignment_vectors.json")))
    for line in lines():
        print(line)
