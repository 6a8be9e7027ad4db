# Builds the proxy and puts nothing but it, the C library and the authorities it may trust into the image.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --bin splitpool

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/splitpool /splitpool
ENTRYPOINT ["/splitpool"]
CMD ["--config", "/etc/splitpool/splitpool.toml"]
