"""The bytes of an image file at an http or https address, with limits on time and size."""

import time
from typing import Any

from mobilevitv2.errors import ImageError

SCHEMES = ("http://", "https://")
MOST_BYTES = 64 << 20
SILENCE = 20.0  # s without a byte
LONGEST = 120.0  # s for the whole file
CHUNK = 1 << 16

# Without urllib's ftp, file and data handlers, to which an address could redirect.
HANDLERS = (
    "ProxyHandler",
    "UnknownHandler",
    "HTTPHandler",
    "HTTPSHandler",
    "HTTPDefaultErrorHandler",
    "HTTPRedirectHandler",
    "HTTPErrorProcessor",
)


def is_address(source: Any) -> bool:
    """Whether this is text that starts with http:// or https://."""
    return isinstance(source, str) and source.lower().startswith(SCHEMES)


def download(
    address: str,
    *,
    most_bytes: int = MOST_BYTES,
    silence: float = SILENCE,
    longest: float = LONGEST,
) -> bytes:
    """What is at the address; ImageError where it can't be had within the limits [bytes, s]."""
    import http.client  # with urllib 20 ms, which only those pay who download
    import urllib.error
    import urllib.request

    opener = urllib.request.OpenerDirector()
    for name in HANDLERS:
        opener.add_handler(getattr(urllib.request, name)())
    request = urllib.request.Request(
        address, headers={"User-Agent": "mobilevitv2", "Accept": "image/*,*/*;q=0.5"}
    )
    deadline = time.monotonic() + longest
    received = bytearray()
    try:
        with opener.open(request, timeout=silence) as response:
            while chunk := response.read1(CHUNK):
                received += chunk
                if len(received) > most_bytes:
                    raise ImageError(
                        f"{address} is larger than {most_bytes >> 20} MiB. "
                        "Download it yourself and give the file."
                    )
                if time.monotonic() > deadline:
                    raise ImageError(
                        f"{address} did not arrive within {longest:.0f} s. "
                        "Download it yourself and give the file."
                    )
    except urllib.error.HTTPError as error:
        reason = f"the server says {error.code} {error.reason}"
        raise ImageError(f"{address} can't be downloaded: {reason}. Check the address.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = getattr(error, "reason", None) or error
        raise ImageError(
            f"{address} can't be downloaded ({reason}). Check the address and the connection."
        ) from error
    return bytes(received)
