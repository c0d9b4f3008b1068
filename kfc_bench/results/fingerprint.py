"""What must be equal for a finished case to count; it needs no torch, so that reading results needs none."""

from __future__ import annotations

import hashlib
import json
from typing import Any

FINGERPRINT = ("device", "driver", "torch", "triton", "code")


def fingerprint(description: dict[str, Any]) -> dict[str, Any]:
    """Pick what must be equal for a finished case to count: device, driver, torch, triton, code, installed peers."""
    return {key: description[key] for key in FINGERPRINT} | {"peers": description.get("peers", {})}


def short_hash(value: object) -> str:
    """Hash any JSON value to 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
