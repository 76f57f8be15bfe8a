/* Asking a running node or mount: one JSON object there, one back, over its own socket. Blocking.
 */
#ifndef TALLY_TOOLS_CLI_ADMIN_H
#define TALLY_TOOLS_CLI_ADMIN_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Sends `request` (borrowed) to `address` and waits for the answer, at most `timeout_ms`.
 * 0 and the answer's object, which is the caller's; -ETIMEDOUT (frozen or busy), -ECONNREFUSED or
 * -ENOENT (not running), -EPROTO (not one of ours). */
int admin_ask(const char *address, const uint8_t cluster_uuid[16], json_t *request, int timeout_ms,
              json_t **ret_answer);

/* The same with {"cmd": command}. */
int admin_command(const char *address, const uint8_t cluster_uuid[16], const char *command,
                  int timeout_ms, json_t **ret_answer);

#endif
