#!/usr/bin/env bash
# get_nats_server.sh FOLDER: puts a nats-server that the cluster can rest on (2.12 or newer) at FOLDER/nats-server; one that
# is there already stays. Debian's stable suites have older ones, so this takes the package of the unstable suite from the
# mirror that this machine installs from, and unpacks it without installing anything: apt runs with sources, lists and cache
# of its own in FOLDER, so that those of the system are as they were. Needs no root.
set -euo pipefail
least=2.12.0
folder=$(mkdir -p "$1" && cd "$1" && pwd)

say() { echo "get_nats_server: $*" >&2; }
die() {
    say "$*"
    say "put a nats-server $least or newer at $folder/nats-server, or name one in LEAT_NATS_SERVER"
    exit 1
}
# is_enough PROGRAM: its version is at least $least.
is_enough() {
    local version
    version=$("$1" --version 2>/dev/null | grep -om1 '[0-9]\+\.[0-9]\+\.[0-9]\+') || return
    printf '%s\n' "$least" "$version" | sort -VC
}

[[ -x $folder/nats-server ]] && is_enough "$folder/nats-server" && exit
installed=$(PATH=$PATH:/usr/sbin type -P nats-server || true)
if [[ -n $installed ]] && is_enough "$installed"; then # a newer Debian
    ln -sfn "$installed" "$folder/nats-server"
    exit
fi

command -v apt-get >/dev/null || die "there is no apt here to get nats-server with"
. /etc/os-release
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: ${VERSION_CODENAME:-}" \
    'Component: main' | head -n 1) || true
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[[ ${ID:-} == debian && -n $mirror ]] || die "no Debian mirror among the package sources of this machine"
[[ -r $keys ]] || die "no $keys to check packages by (package debian-archive-keyring)"

work=$folder/apt
mkdir -p "$work"/{lists/partial,cache/archives/partial,download}
: >"$work/status"
echo "deb [signed-by=$keys] $mirror unstable main" >"$work/sources.list"
# Read after the system's own settings (proxies and the like), whose hooks are not for these folders.
cat >"$work/apt.conf" <<END
#clear APT::Update;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
# Descriptions, icons and contents of the suite are not asked for.
for target in $(apt-config dump | sed -n 's/^Acquire::IndexTargets::deb::\([^:]*\)::.*/\1/p' | sort -u); do
    [[ $target == Packages ]] || echo "Acquire::IndexTargets::deb::$target::DefaultEnabled \"false\";" >>"$work/apt.conf"
done

say "getting nats-server of Debian's unstable suite"
apt-get -c "$work/apt.conf" -qq update || die "the package list of Debian's unstable suite cannot be had"
rm -f "$work"/download/*.deb
(cd "$work/download" && apt-get -c "$work/apt.conf" -qq download nats-server) ||
    die "the package nats-server of Debian's unstable suite cannot be had"
rm -rf "$folder/unpacked"
dpkg-deb -x "$work"/download/nats-server_*.deb "$folder/unpacked"
program=$folder/unpacked/usr/sbin/nats-server
is_enough "$program" || die "Debian's unstable suite has $("$program" --version 2>&1 || true), which is too old or does not run"
ln -sfn unpacked/usr/sbin/nats-server "$folder/nats-server"
rm -rf "$work"
say "$("$folder/nats-server" --version) in $folder"
