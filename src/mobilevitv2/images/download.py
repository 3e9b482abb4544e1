"""Downloads an image file from an http or https address, within limits on time and size."""

import time
from typing import Any

from mobilevitv2.errors import ImageError

SCHEMES = ("http://", "https://")
MOST_BYTES = 64 << 20
SILENCE = 20.0  # s without a byte
LONGEST = 120.0  # s for the whole file
CHUNK = 1 << 16

# Without urllib's handlers of ftp, file and data, to which a server could redirect.
HANDLERS = ("ProxyHandler", "UnknownHandler", "HTTPHandler", "HTTPSHandler", "HTTPErrorProcessor")
HANDLERS += ("HTTPDefaultErrorHandler", "HTTPRedirectHandler")


def is_address(source: Any) -> bool:
    """Whether this is text that starts with http:// or https://."""
    return isinstance(source, str) and source.lower().startswith(SCHEMES)


def download(address: str) -> bytes:
    """The bytes at the address. Raises ImageError if they don't come within the limits."""
    import http.client  # with urllib 20 ms, paid only by those who download
    import urllib.error
    import urllib.request

    opener = urllib.request.OpenerDirector()
    for name in HANDLERS:
        opener.add_handler(getattr(urllib.request, name)())
    request = urllib.request.Request(
        address, headers={"User-Agent": "mobilevitv2", "Accept": "image/*,*/*;q=0.5"}
    )
    deadline = time.monotonic() + LONGEST
    received = bytearray()
    try:
        with opener.open(request, timeout=SILENCE) as response:
            while chunk := response.read1(CHUNK):
                received += chunk
                large = len(received) > MOST_BYTES
                if large or time.monotonic() > deadline:
                    late = f"did not arrive within {LONGEST:.0f} s"
                    wrong = f"is larger than {MOST_BYTES >> 20} MiB" if large else late
                    raise ImageError(f"{address} {wrong}. Download it yourself, and pass the file.")
    except ImageError:
        raise
    except urllib.error.HTTPError as error:
        reason = f"the server says {error.code} {error.reason}"
        raise ImageError(f"{address} can't be downloaded: {reason}. Check the address.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"can't be downloaded ({getattr(error, 'reason', None) or error})"
        raise ImageError(f"{address} {reason}. Check the address and the connection.") from error
    return bytes(received)
