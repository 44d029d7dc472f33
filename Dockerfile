# The native server as a container: one binary, the libraries that it links to, and a folder for the database.
# The digest is that of the tag for all architectures: docker buildx imagetools inspect rust:1.95.0-slim-bookworm
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
WORKDIR /src

# Dependencies first, with stubs instead of the sources. This layer is rebuilt only when a manifest changes.
COPY Cargo.toml Cargo.lock build.rs ./
RUN mkdir -p src web examples benches tests/integration \
	&& touch src/lib.rs \
	&& for stub in src/main.rs benches/micro.rs examples/fake-qwen.rs examples/load.rs tests/integration/main.rs; do echo 'fn main() {}' >"$stub"; done \
	&& cargo build --release --locked --bin qwen-edge

COPY migrations migrations
COPY src src
COPY web web
# Shown by --version: docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" .
ARG COMMIT
# Copied files keep their modification times, and may be older than the stubs that they replace. Cargo compares these times.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin qwen-edge

# The content of the final image, in one folder. Everybody may write to /data, so that any --user can keep a database there.
# The last line fails the build if a library is missing. TLS roots are compiled in, so the image needs no certificates.
RUN install -d /image/usr/local/bin && install -d -m 1777 /image/data \
	&& install target/release/qwen-edge /image/usr/local/bin/ \
	&& ldd target/release/qwen-edge | grep -o '/[^ ]*' | xargs cp -L --parents -t /image \
	&& chroot /image /usr/local/bin/qwen-edge --version

FROM scratch
# The list of parts (--sbom=true) names the libraries of Cargo.lock: the binary does not.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
LABEL org.opencontainers.image.title="qwen-edge" \
	org.opencontainers.image.description="Your own Qwen web account as an OpenAI-compatible API" \
	org.opencontainers.image.licenses="MIT"
COPY --from=build /image/ /
ENV HOST=0.0.0.0 DATABASE_PATH=/data/qwen-edge.db
VOLUME /data
EXPOSE 8000
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=12s --start-period=5s CMD ["/usr/local/bin/qwen-edge", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/qwen-edge"]
