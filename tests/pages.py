"""Pages of HTML, taken apart for tests."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with attributes, text, and whether every element is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
