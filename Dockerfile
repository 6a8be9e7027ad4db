# An image with nothing in it but the proxy, which needs no C library, and the authorities that it may trust.
#   docker build -t splitpool .
#   docker run --read-only -v ./splitpool.toml:/etc/splitpool/splitpool.toml:ro -p 6432:6432 splitpool
FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools ca-certificates
WORKDIR /src
COPY . .
RUN target=$(uname -m)-unknown-linux-musl \
    && rustup target add "$target" \
    && cargo build --release --bin splitpool --target "$target" \
    && cp "target/$target/release/splitpool" /splitpool

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /splitpool /splitpool
USER 65532:65532
EXPOSE 6432 6433 9432
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s \
    CMD ["/splitpool", "healthcheck", "--config", "/etc/splitpool/splitpool.toml"]
ENTRYPOINT ["/splitpool"]
CMD ["--config", "/etc/splitpool/splitpool.toml"]
