"""A web page as a test reads it."""

import base64
import io
from html.parser import HTMLParser

from PIL import Image


class Page(HTMLParser):
    """The tags with their attributes, and the texts, of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def pictures(self, kind: str) -> list[Image.Image]:
        sources = [a["src"] for tag, a in self.tags if tag == "img"]
        found = [s.split(",", 1)[1] for s in sources if s.startswith(f"data:image/{kind}")]
        return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]
