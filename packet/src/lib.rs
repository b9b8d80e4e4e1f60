//! Zero-copy views of packet headers: parse, build, rewrite, checksums.
