# bash completion for pumice. The words come from the program itself, so they are those of its version.

_pumice() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$1" --completion-words 2>/dev/null)" -- "$current")
        return
    fi
    case $previous in
    -m | --model | --plot | -f | --file | -o | --output | --imatrix | --cache-dir | --tokenizer | --chat-template-file | --template-file | --context)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    -ctk | --cache-type-k | -ctv | --cache-type-v)
        mapfile -t COMPREPLY < <(compgen -W "f32 f16 q8_0 q4_0" -- "$current")
        return
        ;;
    --outtype)
        mapfile -t COMPREPLY < <(compgen -W "auto f32 f16 bf16 q8_0" -- "$current")
        return
        ;;
    --output-tensor-type | --token-embedding-type)
        mapfile -t COMPREPLY < <(compgen -W "F32 F16 BF16 Q8_0 Q6_K Q5_K Q4_K Q3_K Q2_K IQ4_NL IQ4_XS Q5_1 Q5_0 Q4_1 Q4_0 MXFP4 TQ2_0" -- "$current")
        return
        ;;
    --device)
        mapfile -t COMPREPLY < <(compgen -W "cpu" -- "$current")
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(
        compgen -W "$("$1" --completion-words "${COMP_WORDS[1]}" 2>/dev/null)" -- "$current"
    )
}

complete -F _pumice pumice
