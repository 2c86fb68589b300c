"""Tokens for single bytes, <0xE2>, which write what a vocabulary of characters lacks."""

import re
from collections.abc import Mapping

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_ids(text: str, ids: Mapping[str, int]) -> list[int]:
    """The ids of the tokens of a text's bytes; none at all if one of the bytes has no token.

    Args:
        text: what is written.
        ids: token -> id.
    """
    found = [ids.get(f"<0x{byte:02X}>", -1) for byte in text.encode()]
    return [] if -1 in found else found
