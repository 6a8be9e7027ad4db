# An image with nothing in it but the proxy, which needs no C library, and the authorities that it may trust.
#   docker build -t splitpool .
#   docker run --read-only -v ./splitpool.toml:/etc/splitpool/splitpool.toml:ro -p 6432:6432 splitpool
# For production, with a fifth less work of the processor's for a request and ten minutes more to build:
#   docker build --build-arg BUILD=released -t splitpool .
FROM rust:1-bookworm AS build
ARG BUILD=release
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools ca-certificates
WORKDIR /src
COPY . .
RUN target=$(uname -m)-unknown-linux-musl \
    && rustup target add "$target" \
    && if [ "$BUILD" = released ]; then \
        integration/release --target "$target" && cp target/released/splitpool /splitpool; \
    else \
        cargo build --release --bin splitpool --target "$target" && cp "target/$target/release/splitpool" /splitpool; \
    fi

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /splitpool /splitpool
USER 65532:65532
EXPOSE 6432 6433 9432
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s \
    CMD ["/splitpool", "healthcheck", "--config", "/etc/splitpool/splitpool.toml"]
ENTRYPOINT ["/splitpool"]
CMD ["--config", "/etc/splitpool/splitpool.toml"]
