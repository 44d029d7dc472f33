#!/usr/bin/env python3
"""A module: 模块."""

import sys


def main() -> int:
    print("hello")
    return 0


if __name__ == "__main__":
    sys.exit(main())
