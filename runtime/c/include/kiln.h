/* Runs models that kiln compiled. Link libkiln_c.a with -lm -lpthread -ldl.
 *
 * An artifact holds machine code, and opening it makes that code runnable: open only artifacts you trust.
 *
 * Every function may be called from any thread. A model may be used by several threads at once; each call of
 * kiln_generate or kiln_generate_ids is a conversation of its own. Only kiln_close must be the last call with its model.
 *
 * Calls of several threads with one model run side by side, as many as it has threads; more take turns. The floating-point environment
 * of the calling thread (rounding mode, denormals) changes no result, and is as it was when a call returns.
 *
 * A process that is forked off may use and close the models that its parent opened, whatever the parent's threads were doing: it starts
 * threads of its own with its first call.
 *
 * All memory belongs to whoever allocated it: the library keeps no pointer that it was given, and the caller frees nothing
 * but models, with kiln_close. No function panics or throws into the caller. */
#ifndef KILN_H
#define KILN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A loaded model. */
typedef struct kiln_model kiln_model;

/* Takes a piece of text: UTF-8, ends with a zero, is valid during the call only, and never ends inside a character.
 * `user` is what was given to kiln_generate. Returns 0 to go on, anything else to stop. It must return: no longjmp, no
 * exception. */
typedef int (*kiln_on_text)(const char *piece, void *user);

/* Opens an artifact. `threads` is how many compute, 0 for as many as the machine has; results do not depend on it.
 * Returns NULL on failure. */
kiln_model *kiln_open(const char *path, size_t threads);

/* Continues `prompt`, which is UTF-8, by at most `max_new_tokens` tokens, and gives the text to `on_text` as it comes. Other
 * options are the model's own (its generation_config.json). Returns 0, or -1 on failure. */
int kiln_generate(const kiln_model *model, const char *prompt, size_t max_new_tokens, kiln_on_text on_text, void *user);

/* Continues `count` token ids. New ids go to `out`, which has room for `capacity`, the most that are made. Returns how many
 * there are, or -1 on failure. Works without a tokenizer. */
ptrdiff_t kiln_generate_ids(const kiln_model *model, const uint32_t *ids, size_t count, uint32_t *out, size_t capacity);

/* What went wrong in this thread's last failed call; empty if none has failed. Valid until the thread's next call that fails. */
const char *kiln_last_error(void);

/* Frees a model. NULL is allowed. */
void kiln_close(kiln_model *model);

#ifdef __cplusplus
}
#endif

#endif
