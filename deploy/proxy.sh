#!/bin/sh
# Entry point of Dockerfile.proxy: Envoy with the arguments that the injector wrote.
#
# The injector cannot know whether the node's kernel has IPv6, and Envoy does not start where it is told of addresses that
# the kernel has not (ipv6.disable=1). There the wildcard is 0.0.0.0, and nothing is sent from ::6.
if [ ! -e /proc/net/if_inet6 ]; then
    for argument; do
        shift
        set -- "$@" "$(printf '%s' "$argument" | sed -e 's/"address":"::"/"address":"0.0.0.0"/g' \
            -e 's/,"ipv4_compat":true//g' -e 's/"extra_source_addresses":\[[^]]*\],//g')"
    done
fi
exec envoy "$@"
