#!/bin/sh
# What udhcpc runs with each piece of news: takes the address into use, or out of it. The lab waits for `using`.
case "$1" in
deconfig) busybox ifconfig "$interface" 0.0.0.0 ;;
bound | renew) busybox ifconfig "$interface" "$ip" netmask "$subnet" && echo "using $ip" ;;
esac
