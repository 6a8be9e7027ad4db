# Ends what a process of this package left behind, whatever ended that process.
# Reads lines until its input ends, which happens when the process that started it is gone:
#   pid ID START    this process (START: field 22 of /proc/ID/stat) and its children are ours
#   gone ID         it has ended, forget it
#   dir PATH        this directory is ours
#   kept PATH       it was removed, forget it
# An id that meanwhile belongs to another process has another start time and is left alone.
set -u
trap '' INT TERM HUP
declare -A started=() dirs=()

stat_of() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    printf '%s' "${line##*) }"
}
start_of() {
    local fields
    read -r -a fields <<<"$(stat_of "$1")" || return 1
    [ "${fields[0]:-Z}" != Z ] && printf '%s' "${fields[19]:-}"
}
children_of() {
    local entry fields
    for entry in /proc/[0-9]*; do
        read -r -a fields <<<"$(stat_of "${entry#/proc/}")" || continue
        [ "${fields[1]:-}" = "$1" ] && printf '%s ' "${entry#/proc/}"
    done
}

while read -r word first second; do
    case $word in
    pid) started[$first]=$second ;;
    gone) unset "started[$first]" ;;
    dir) dirs[$first]=1 ;;
    kept) unset "dirs[$first]" ;;
    esac
done

family=()
for id in "${!started[@]}"; do
    [ "$(start_of "$id")" = "${started[$id]}" ] || continue
    for member in $id $(children_of "$id"); do
        family+=("$member:$(start_of "$member")")
        kill -CONT "$member" 2>/dev/null
    done
    # A database gets its immediate shutdown, which takes its shared memory with it.
    read -r comm <"/proc/$id/comm" 2>/dev/null
    case ${comm:-} in
    postgres) kill -QUIT "$id" ;;
    *) kill -KILL "$id" ;;
    esac 2>/dev/null
done
alive() {
    local member
    for member in "${family[@]}"; do
        [ "$(start_of "${member%%:*}")" = "${member##*:}" ] && printf '%s ' "${member%%:*}"
    done
}
if [ ${#family[@]} -gt 0 ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
        [ -z "$(alive)" ] && break
        sleep 0.25
    done
    for member in $(alive); do kill -KILL "$member" 2>/dev/null; done
fi
for dir in "${!dirs[@]}"; do
    case $dir in
    */splitpool-run-*) rm -rf -- "$dir" ;;
    esac
done
