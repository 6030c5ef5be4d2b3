/* Runs a compiled model from C: `embed_c MODEL.kiln "The capital of France is"`, or token ids, `embed_c MODEL.kiln 1 2 3`. */
#include "kiln.h"

#include <stdio.h>
#include <stdlib.h>

enum { NEW_TOKENS = 16 };

static int print_piece(const char *piece, void *user) {
    (void)user;
    fputs(piece, stdout);
    return fflush(stdout);
}

static int is_number(const char *text) {
    char *end;
    strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0;
}

static int print_ids(const kiln_model *model, int count, char **numbers) {
    uint32_t new_ids[NEW_TOKENS];
    uint32_t *ids = malloc((size_t)count * sizeof *ids);
    if (!ids)
        return -1;
    for (int i = 0; i < count; i++)
        ids[i] = (uint32_t)strtoul(numbers[i], NULL, 10);
    ptrdiff_t made = kiln_generate_ids(model, ids, (size_t)count, new_ids, NEW_TOKENS);
    free(ids);
    for (ptrdiff_t i = 0; i < made; i++)
        printf("%u ", (unsigned)new_ids[i]);
    return made < 0 ? -1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.kiln PROMPT | ID ...\n", argv[0]);
        return 2;
    }
    kiln_model *model = kiln_open(argv[1], 0);
    int failed = !model;
    if (model && is_number(argv[2]))
        failed = print_ids(model, argc - 2, argv + 2);
    else if (model)
        failed = kiln_generate(model, argv[2], NEW_TOKENS, print_piece, NULL);
    if (failed)
        fprintf(stderr, "error: %s\n", kiln_last_error());
    else
        putchar('\n');
    kiln_close(model);
    return failed ? 1 : 0;
}
