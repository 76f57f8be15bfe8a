/* The configuration: one small INI file, valid on every node and for every mount.
 *
 *     [cluster]
 *     name = lab
 *     uuid = 00112233445566778899aabbccddeeff
 *
 *     [node n1]
 *     id = 1
 *     kind = copy
 *     address = unix:/srv/lab/run/n1.sock
 *     store = /srv/lab/nodes/n1
 *     capacity = 10GiB
 *
 * Sizes take B KiB MiB GiB TiB, times ms s min h. An unknown key is an error with the nearest
 * match. */
#ifndef TALLY_TOOLS_CLI_CONFIG_H
#define TALLY_TOOLS_CLI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONFIG_NODES_MAX = 7, CONFIG_NAME_MAX = 63, CONFIG_PATH_MAX = 1023 };

struct config_node {
    uint32_t id; /* 1..31 */
    char name[CONFIG_NAME_MAX + 1];
    bool witness;
    char address[CONFIG_PATH_MAX + 1];
    char store[CONFIG_PATH_MAX + 1]; /* empty: given on the command line */
    uint64_t capacity_bytes;         /* 0: as much as the disk has */
};

struct config {
    char name[CONFIG_NAME_MAX + 1];
    uint8_t uuid[16];
    char election[16]; /* candidate, bully, successor, invitation or ring: election/strategy.h */
    bool leader_lease; /* RULES E1: on; off uses ReadIndex alone */
    struct config_node nodes[CONFIG_NODES_MAX];
    size_t nodes_count;
};

/* Reads and checks `path`. On failure -EINVAL, or the negative errno of reading it, and `error`
 * says what, where (file and line) and what next. */
int config_load(const char *path, struct config *ret, char *error, size_t error_size);
const struct config_node *config_find(const struct config *c, const char *name);
const struct config_node *config_find_id(const struct config *c, uint32_t id);

/* "64MiB" -> bytes, "30s" -> microseconds. -EINVAL, -ERANGE. */
int config_parse_size(const char *text, uint64_t *ret_bytes);
int config_parse_time(const char *text, uint64_t *ret_us);

#endif
