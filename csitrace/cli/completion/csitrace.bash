# Completion of csitrace for bash:  source <(csitrace completion bash)
_csitrace() {
    local typed="${COMP_LINE:0:COMP_POINT}" line directive=0 prefix=""
    local -a words=()
    COMPREPLY=()
    read -ra words <<< "$typed" # not COMP_WORDS, which are cut at = and :
    [[ "$typed" == *[[:space:]] ]] && words+=("")
    # What stands before a colon in the word is there already, as readline sees it.
    [[ "${words[-1]}" == *:* && "$COMP_WORDBREAKS" == *:* ]] && prefix="${words[-1]%"${words[-1]##*:}"}"
    while IFS= read -r line; do
        if [[ "$line" =~ ^:[0-9]+$ ]]; then
            directive="${line#:}"
        else
            line="${line%%$'\t'*}"
            COMPREPLY+=("${line#"${prefix##*=}"}")
        fi
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    ((directive & 2)) && compopt -o nospace
    if ((directive & 16)); then
        compopt -o dirnames
    elif ((!(directive & 4))); then
        compopt -o default
    fi
}
complete -F _csitrace csitrace
