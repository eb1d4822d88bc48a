#!/usr/bin/env python3
"""Makes vectors.json beside this file with the reference implementation.

  python3 -m venv VENV && VENV/bin/pip install opentimestamps==0.4.5 opentimestamps-client==0.7.2
  VENV/bin/python crates/ots/vectors/make.py [CORPUS]

CORPUS, if given, is the directory of the fuzz target's seeds. Timestamps are drawn from a fixed seed, so they
come out the same each time; the stock client's files are new each time, for it draws its own nonces.
"""

import hashlib
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import warnings

import bitcoin.core
from bitcoin.core import CBlock, CTransaction, CTxIn, CTxOut, COutPoint, CTxInWitness, CTxWitness
from bitcoin.core.script import CScript, CScriptWitness, OP_RETURN
from opentimestamps.bitcoin import make_timestamp_from_block
from opentimestamps.core.notary import (
    BitcoinBlockHeaderAttestation,
    LitecoinBlockHeaderAttestation,
    PendingAttestation,
    UnknownAttestation,
)
from opentimestamps.core.op import (
    OpAppend,
    OpHexlify,
    OpKECCAK256,
    OpPrepend,
    OpReverse,
    OpRIPEMD160,
    OpSHA1,
    OpSHA256,
)
from opentimestamps.core.serialize import (
    BytesDeserializationContext,
    BytesSerializationContext,
    DeserializationError,
)
from opentimestamps.core.timestamp import DetachedTimestampFile, Timestamp, make_merkle_tree

warnings.simplefilter("ignore")
dice = random.Random(5)


def some_bytes(low, high):
    return dice.randbytes(dice.randint(low, high))


def serialized(thing):
    ctx = BytesSerializationContext()
    thing.serialize(ctx)
    return ctx.getbytes()


def said(timestamp):
    """Attestations with their messages, in the order in which they are written."""
    found = []

    def walk(node):
        for attestation in sorted(node.attestations):
            name = type(attestation).__name__
            value = {
                "PendingAttestation": lambda: ["pending", attestation.uri],
                "BitcoinBlockHeaderAttestation": lambda: ["bitcoin", attestation.height],
                "LitecoinBlockHeaderAttestation": lambda: ["litecoin", attestation.height],
                "UnknownAttestation": lambda: ["unknown", attestation.TAG.hex() + attestation.payload.hex()],
            }[name]()
            found.append([node.msg.hex(), *value])
        for _, after in sorted(node.ops.items(), key=lambda item: item[0]):
            walk(after)

    walk(timestamp)
    return found


def attestation():
    return dice.choice(
        [
            lambda: PendingAttestation("https://calendar-%d.example:80/a_b" % dice.randrange(99)),
            lambda: BitcoinBlockHeaderAttestation(dice.randrange(2 ** dice.randrange(1, 33))),
            lambda: LitecoinBlockHeaderAttestation(dice.randrange(2 ** dice.randrange(1, 33))),
            lambda: UnknownAttestation(some_bytes(8, 8), some_bytes(0, 40)),
        ]
    )()


def operation(message):
    makes = [
        lambda: OpSHA1(),
        lambda: OpRIPEMD160(),
        lambda: OpSHA256(),
        lambda: OpKECCAK256(),
        lambda: OpReverse(),
        lambda: OpAppend(some_bytes(1, 40)),
        lambda: OpPrepend(some_bytes(1, 40)),
    ]
    if len(message) < 1000:
        makes.append(lambda: OpHexlify())
        makes.append(lambda: OpAppend(some_bytes(100, 300)))
    return dice.choice(makes)()


def grow(timestamp, depth):
    for _ in range(dice.choice([0, 0, 1, 3]) if depth else dice.choice([1, 1, 2])):
        timestamp.attestations.add(attestation())
    if depth:
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            grow(timestamp.ops.add(operation(timestamp.msg)), depth - 1)


def drawn_files():
    files = []
    for number in range(60):
        hash_op = dice.choice([OpSHA1, OpRIPEMD160, OpSHA256, OpSHA256, OpKECCAK256])()
        timestamp = Timestamp(some_bytes(hash_op.DIGEST_LENGTH, hash_op.DIGEST_LENGTH))
        grow(timestamp, number % 8)
        files.append(DetachedTimestampFile(hash_op, timestamp))
    # The longest chain that is read.
    timestamp = Timestamp(some_bytes(32, 32))
    node = timestamp
    for _ in range(255):
        node = node.ops.add(OpSHA256())
    node.attestations.add(BitcoinBlockHeaderAttestation(1))
    files.append(DetachedTimestampFile(OpSHA256(), timestamp))
    # The longest message, operand, address and payload.
    timestamp = Timestamp(some_bytes(32, 32))
    node = timestamp.ops.add(OpAppend(some_bytes(4064, 4064))).ops.add(OpReverse()).ops.add(OpSHA256())
    node.attestations.add(PendingAttestation("h" * 1000))
    node.attestations.add(UnknownAttestation(some_bytes(8, 8), some_bytes(8192, 8192)))
    files.append(DetachedTimestampFile(OpSHA256(), timestamp))
    return files


def file_vector(name, raw):
    detached = DetachedTimestampFile.deserialize(BytesDeserializationContext(raw))
    assert serialized(detached) == raw
    return {
        "name": name,
        "file": raw.hex(),
        "hash": detached.file_hash_op.TAG_NAME,
        "digest": detached.file_digest.hex(),
        "said": said(detached.timestamp),
    }


def merge_vectors():
    made = []
    for _ in range(12):
        message = some_bytes(32, 32)
        one, other = Timestamp(message), Timestamp(message)
        # Two that share their beginning and part later.
        for timestamp in (one, other):
            node = timestamp.ops.add(OpAppend(message[:16])).ops.add(OpSHA256())
            grow(node, dice.randint(0, 3))
        both = Timestamp(message)
        both.merge(one)
        both.merge(other)
        made.append({"digest": message.hex(), "parts": [serialized(one).hex(), serialized(other).hex()],
                     "merged": serialized(both).hex()})
    return made


def tree_vectors():
    made = []
    for count in [1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 17, 255, 256, 257, 300]:
        leaves = [Timestamp(hashlib.sha256(b"%d of %d" % (leaf, count)).digest()) for leaf in range(count)]
        root = make_merkle_tree(leaves)
        root.attestations.add(BitcoinBlockHeaderAttestation(count))
        shown = sorted({0, count // 2, count - 1})
        made.append({"count": count, "root": root.msg.hex(),
                     "leaves": {str(leaf): serialized(leaves[leaf]).hex() for leaf in shown}})
    return made


def transaction(payload, inputs, witness):
    vin = [CTxIn(COutPoint(some_bytes(32, 32), dice.randrange(9)), CScript(some_bytes(0, 80)),
                 dice.randrange(2**32)) for _ in range(inputs)]
    vout = [CTxOut(dice.randrange(10**9), CScript(some_bytes(22, 22)))]
    if payload is not None:
        vout.insert(dice.randrange(2), CTxOut(0, CScript([OP_RETURN, payload])))
    stack = CScriptWitness([some_bytes(70, 72), some_bytes(33, 33)])
    wit = CTxWitness([CTxInWitness(stack) for _ in vin] if witness else [])
    return CTransaction(vin, vout, dice.randrange(500_000), dice.choice([1, 2]), wit)


def block_vectors():
    made = []
    for count in [1, 2, 3, 4, 5, 6, 7, 12, 13, 16, 31, 100]:
        for place in sorted({0, count // 2, count - 1}):
            payload = some_bytes(32, 32)
            txs = [transaction(payload if at == place else None, dice.randint(1, 3), dice.random() < 0.5)
                   for at in range(count)]
            block = CBlock(2, some_bytes(32, 32), bytes(32), 1_600_000_000 + count, 0x207FFFFF, 0, txs)
            block = CBlock(2, block.hashPrevBlock, block.calc_merkle_root(), block.nTime, block.nBits, 7, txs)
            height = dice.randrange(900_000)
            stamp = make_timestamp_from_block(payload, block, height)
            made.append({
                "payload": payload.hex(),
                "height": height,
                "position": place,
                "header": block.get_header().serialize().hex(),
                "transaction": txs[place].serialize().hex(),
                "txid": txs[place].GetTxid().hex(),
                "inputs": [[i.prevout.hash.hex(), i.prevout.n] for i in txs[place].vin],
                "txids": [tx.GetTxid().hex() for tx in txs],
                "timestamp": serialized(stamp).hex(),
            })
    return made


def refused():
    """Bytes of files that the reference refuses, with its reason."""
    head = DetachedTimestampFile.HEADER_MAGIC + b"\x01\x08" + bytes(32)
    pending = bytes.fromhex("0083dfe30d2ef90c8e")
    bitcoin = bytes.fromhex("000588960d73d71901")
    end = bitcoin + b"\x01\x05"
    candidates = {
        "empty": b"",
        "magic": b"\x01" + head[1:] + end,
        "version": head.replace(b"\x01\x08", b"\x02\x08", 1) + end,
        "hash": head.replace(b"\x01\x08", b"\x01\xf2", 1) + end,
        "no timestamp": head,
        "short digest": head[:-1],
        "unknown operation": head + b"\x77" + end,
        "nothing after fork": head + b"\xff" + end,
        "fork twice": head + b"\xff\xff" + end,
        "trailing": head + end + b"\x00",
        "empty operand": head + b"\xf0\x00" + end,
        "long operand": head + b"\xf0\x81\x20" + bytes(4097) + end,
        "long message": head + b"\xf0\x80\x20" + bytes(4096) + end,
        "long hexlify": head + b"\xf0\x80\x10" + bytes(2048) + b"\xf3" + end,
        "long payload": head + b"\x00" + b"12345678" + b"\x81\x40" + bytes(8193),
        "payload cut": head + b"\x00" + b"12345678" + b"\x08" + bytes(7),
        "long address": head + pending + b"\xeb\x07" + b"\xe9\x07" + b"h" * 1001,
        "address with blank": head + pending + b"\x04\x03a b",
        "address with query": head + pending + b"\x04\x03a?b",
        "address not ascii": head + pending + b"\x03\x02\xc3\xa9",
        "pending with trailing": head + pending + b"\x05\x03abc!",
        "height with trailing": head + bitcoin + b"\x02\x05\x05",
        "height empty": head + bitcoin + b"\x00",
        "too deep": head + b"\x08" * 256 + end,
    }
    made = []
    for name, raw in candidates.items():
        try:
            DetachedTimestampFile.deserialize(BytesDeserializationContext(raw))
        except DeserializationError as error:
            made.append({"name": name, "file": raw.hex(), "reference": type(error).__name__})
        else:
            raise SystemExit("the reference accepts " + name)
    return made


class Calendar(http.server.BaseHTTPRequestHandler):
    """Answers like a calendar whose every commitment is alone in a block of its own."""

    def log_message(self, *_):
        pass

    def answer(self, timestamp):
        body = serialized(timestamp)
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        digest = self.rfile.read(int(self.headers["Content-Length"]))
        timestamp = Timestamp(digest)
        node = timestamp.ops.add(OpPrepend(b"\x5f\x5e\x10\x00")).ops.add(OpAppend(b"calendar"))
        node.attestations.add(PendingAttestation(self.server.uri))
        self.answer(timestamp)

    def do_GET(self):
        commitment = bytes.fromhex(self.path.rsplit("/", 1)[1])
        payload = OpSHA256()(commitment)
        tx = transaction(payload, 1, True)
        coinbase = transaction(None, 1, False)
        block = CBlock(2, bytes(32), bytes(32), 1_700_000_000, 0x207FFFFF, 0, [coinbase, tx])
        block = CBlock(2, bytes(32), block.calc_merkle_root(), block.nTime, block.nBits, 0, [coinbase, tx])
        height = 100 + len(self.server.headers)
        self.server.headers[height] = block.get_header().serialize().hex()
        timestamp = Timestamp(commitment)
        timestamp.ops.add(OpSHA256()).merge(make_timestamp_from_block(payload, block, height))
        self.answer(timestamp)


def client_vectors():
    """Files of the unmodified client: stamped, and upgraded."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Calendar)
    server.headers = {}
    server.uri = "http://127.0.0.1:%d" % server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ots = str(pathlib.Path(sys.executable).parent / "ots")
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        for names in (["alone"], ["one", "two", "three"]):
            paths = []
            for name in names:
                path = pathlib.Path(scratch, name)
                path.write_bytes(b"document " + name.encode())
                paths.append(path)
            run = lambda *words: subprocess.run([ots, "--no-cache", "-l", server.uri, *words], check=True,
                                                stderr=subprocess.DEVNULL)
            run("stamp", "-c", server.uri, "-m", "1", *map(str, paths))
            for name, path in zip(names, paths):
                stamped = pathlib.Path(str(path) + ".ots")
                before = stamped.read_bytes()
                run("upgrade", str(stamped))
                made.append({"stamped": file_vector(name, before), "headers": dict(server.headers),
                             "upgraded": file_vector(name, stamped.read_bytes()),
                             "document": path.read_bytes().hex()})
    server.shutdown()
    return made


def main():
    drawn = drawn_files()
    vectors = {
        "made_with": "opentimestamps 0.4.5, opentimestamps-client 0.7.2",
        "files": [file_vector("drawn-%d" % number, serialized(file)) for number, file in enumerate(drawn)],
        "client": client_vectors(),
        "merges": merge_vectors(),
        "trees": tree_vectors(),
        "blocks": block_vectors(),
        "refused": refused(),
    }
    out = pathlib.Path(__file__).parent / "vectors.json"
    out.write_text(json.dumps(vectors, indent=1) + "\n")
    if len(sys.argv) > 1:
        corpus = pathlib.Path(sys.argv[1])
        corpus.mkdir(parents=True, exist_ok=True)
        for vector in vectors["files"][:24]:
            (corpus / vector["name"]).write_bytes(b"\x00" + bytes.fromhex(vector["file"]))
        for vector in vectors["client"]:
            (corpus / ("client-" + vector["upgraded"]["name"])).write_bytes(
                b"\x00" + bytes.fromhex(vector["upgraded"]["file"]))
        for number, vector in enumerate(vectors["merges"][:4]):
            (corpus / ("answer-%d" % number)).write_bytes(
                b"\x01" + bytes.fromhex(vector["digest"]) + bytes.fromhex(vector["merged"]))
        for number, vector in enumerate(vectors["blocks"][:4]):
            (corpus / ("transaction-%d" % number)).write_bytes(b"\x02" + bytes.fromhex(vector["transaction"]))
        for vector in vectors["refused"]:
            if len(vector["file"]) < 1000:
                (corpus / ("refused-" + vector["name"].replace(" ", "-"))).write_bytes(
                    b"\x00" + bytes.fromhex(vector["file"]))


main()
