# efmd as a container: built in one stage, run in another that holds the program and its libraries alone.
#
#   docker build -t efmd .
#   docker run --rm --read-only --cap-drop ALL -p 127.0.0.1:8080:8080 -e EFM_ADMIN=open -v efmd-state:/var/lib/efmd efmd
#
# EFM_ADMIN=open lets whoever reaches the port upload and train; without it that takes keys (docs/security.md).
#
# There is no HEALTHCHECK: it would need an HTTP client inside, and orchestrators probe from outside:
# liveness /livez, readiness and startup /readyz. Give it more time to stop than its --shutdown-timeout.
FROM debian:12-slim AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --no-install-recommends -y meson ninja-build gcc libc6-dev pkg-config \
        libmicrohttpd-dev libgnutls28-dev libjansson-dev libcurl4-openssl-dev zlib1g-dev \
        libspng-dev libjpeg-dev libwebp-dev libstb-dev libdnnl-dev nettle-dev libsqlite3-dev libzip-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY meson.build meson_options.txt ./
COPY core core
COPY api api
COPY server server
RUN meson setup /build --buildtype=release --prefix=/usr -Dtests=disabled -Dwerror=false \
    && meson compile -C /build \
    && DESTDIR=/out meson install -C /build --strip

FROM debian:12-slim
LABEL org.opencontainers.image.title="efmd" \
    org.opencontainers.image.description="Electrostatic field matching over HTTP: images carried along field lines between two charged plates" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y \
        ca-certificates libmicrohttpd12 libgnutls30 libjansson4 zlib1g libsqlite3-0 libzip4 libcurl4 \
        libspng0 libjpeg62-turbo libwebp7 libwebpdemux2 libnettle8 libdnnl2 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/efmd
COPY --from=build /out/usr/bin/efmd /usr/bin/efmd
ENV EFM_LISTEN=0.0.0.0:8080 \
    EFM_STATE_DIR=/var/lib/efmd
USER 10001:10001
VOLUME /var/lib/efmd
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["efmd"]
