#include "tools/cli/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "election/strategy.h"
#include "repl/base/mem.h"
#include "tools/cli/nearest.h"

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {NULL, 0},
};
static const struct unit time_units[] = {
    {"us", 1}, {"ms", 1000}, {"s", 1000000}, {"min", 60000000ull}, {"h", 3600000000ull}, {NULL, 0},
};

static int parse_with_unit(const char *text, const struct unit *units, uint64_t *ret)
{
    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno)
        return -ERANGE;
    while (*end == ' ')
        end++;
    for (const struct unit *u = units; u->name; u++) {
        if (strcmp(end, u->name) != 0)
            continue;
        if (number > UINT64_MAX / u->factor)
            return -ERANGE;
        *ret = number * u->factor;
        return 0;
    }
    return -EINVAL;
}

int config_parse_size(const char *text, uint64_t *ret_bytes)
{
    return parse_with_unit(text, size_units, ret_bytes);
}

int config_parse_time(const char *text, uint64_t *ret_us)
{
    return parse_with_unit(text, time_units, ret_us);
}

struct parse {
    struct config *config;
    const char *path;
    char *error;
    size_t error_size;
    int lineno;
};

__attribute__((format(printf, 2, 3))) static int complain(struct parse *p, const char *format, ...)
{
    if (p->error[0])
        return 0; /* the first mistake is the one to mend first */
    int used = snprintf(p->error, p->error_size, "%s:%d: ", p->path, p->lineno);
    if (used < 0 || (size_t)used >= p->error_size)
        return 0;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(p->error + used, p->error_size - (size_t)used, format, args);
    va_end(args);
    return 0;
}

static int unknown(struct parse *p, const char *what, const char *word, const char *const *known)
{
    struct nearest near;
    nearest_init(&near, word);
    for (; *known; known++)
        nearest_offer(&near, *known);
    if (near.best)
        return complain(p, "unknown %s '%s'. Did you mean '%s'?", what, word, near.best);
    return complain(p, "unknown %s '%s'", what, word);
}

static int copy_text(struct parse *p, const char *key, const char *value, char *to, size_t size)
{
    if (strlen(value) >= size)
        return complain(p, "%s is longer than %zu bytes", key, size - 1);
    memcpy(to, value, strlen(value) + 1);
    return 1;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static int parse_uuid(struct parse *p, const char *value)
{
    if (strlen(value) == 32) {
        int i;
        for (i = 0; i < 16; i++) {
            int hi = hex_digit(value[2 * i]), lo = hex_digit(value[2 * i + 1]);
            if (hi < 0 || lo < 0)
                break;
            p->config->uuid[i] = (uint8_t)(hi << 4 | lo);
        }
        if (i == 16)
            return 1;
    }
    return complain(p, "uuid must be 32 hexadecimal digits in lower case");
}

static int parse_switch(struct parse *p, const char *key, const char *value, bool *ret)
{
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
        return complain(p, "%s must be on or off, not '%s'", key, value);
    *ret = value[1] == 'n';
    return 1;
}

static int cluster_key(struct parse *p, const char *key, const char *value)
{
    static const char *const known[] = {"name", "uuid", "election", "leader_lease", NULL};
    struct config *c = p->config;
    if (strcmp(key, "name") == 0)
        return copy_text(p, key, value, c->name, sizeof c->name);
    if (strcmp(key, "uuid") == 0)
        return parse_uuid(p, value);
    if (strcmp(key, "leader_lease") == 0)
        return parse_switch(p, key, value, &c->leader_lease);
    if (strcmp(key, "election") == 0) {
        if (!strategy_find(value))
            return complain(p,
                            "election must be candidate, bully, successor, invitation or ring, "
                            "not '%s'",
                            value);
        return copy_text(p, key, value, c->election, sizeof c->election);
    }
    return unknown(p, "key of [cluster]", key, known);
}

static int node_key(struct parse *p, struct config_node *n, const char *key, const char *value)
{
    static const char *const known[] = {"id", "kind", "address", "store", "capacity", NULL};
    if (strcmp(key, "id") == 0) {
        char *end;
        unsigned long id = strtoul(value, &end, 10);
        if (*end || !isdigit((unsigned char)value[0]) || id < 1 || id > 31)
            return complain(p, "id must be a number from 1 to 31, not '%s'", value);
        n->id = (uint32_t)id;
        return 1;
    }
    if (strcmp(key, "kind") == 0) {
        if (strcmp(value, "copy") != 0 && strcmp(value, "witness") != 0)
            return complain(p, "kind must be copy or witness, not '%s'", value);
        n->witness = value[0] == 'w';
        return 1;
    }
    if (strcmp(key, "address") == 0) {
        if (strncmp(value, "unix:/", 6) != 0 && strncmp(value, "tcp:", 4) != 0)
            return complain(p, "address must be unix:/PATH or tcp:HOST:PORT, not '%s'", value);
        return copy_text(p, key, value, n->address, sizeof n->address);
    }
    if (strcmp(key, "store") == 0)
        return copy_text(p, key, value, n->store, sizeof n->store);
    if (strcmp(key, "capacity") == 0) {
        if (config_parse_size(value, &n->capacity_bytes) < 0)
            return complain(p, "capacity '%s' is not a size like 10GiB", value);
        return 1;
    }
    return unknown(p, "key of a [node]", key, known);
}

static struct config_node *node_of(struct parse *p, const char *name)
{
    struct config *c = p->config;
    for (size_t i = 0; i < c->nodes_count; i++)
        if (strcmp(c->nodes[i].name, name) == 0)
            return &c->nodes[i];
    if (c->nodes_count == CONFIG_NODES_MAX) {
        (void)complain(p, "more than %d nodes", CONFIG_NODES_MAX);
        return NULL;
    }
    struct config_node *n = &c->nodes[c->nodes_count];
    if (!name[0] || !copy_text(p, "the node's name", name, n->name, sizeof n->name))
        return NULL;
    c->nodes_count++;
    return n;
}

static int on_key(struct parse *p, const char *section, const char *key, const char *value)
{
    static const char *const sections[] = {"cluster", "node", NULL};
    if (strcmp(section, "cluster") == 0)
        return cluster_key(p, key, value);
    if (strncmp(section, "node ", 5) == 0) {
        struct config_node *n = node_of(p, section + 5);
        return n ? node_key(p, n, key, value) : 0;
    }
    return unknown(p, "section", section, sections);
}

/* Without blanks around it. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t size = strlen(text);
    while (size && isspace((unsigned char)text[size - 1]))
        text[--size] = '\0';
    return text;
}

/* A comment begins a line or follows a blank. */
static char *without_comment(char *line)
{
    char *c = line;
    while (*c && !((*c == ';' || *c == '#') && (c == line || isspace((unsigned char)c[-1]))))
        c++;
    *c = '\0';
    return trim(line);
}

/* `section` is the one that the lines before are in. */
static void parse_line(struct parse *p, char *line, char **section)
{
    line = without_comment(line);
    size_t size = strlen(line);
    char *equals = strchr(line, '=');
    if (size == 0)
        return;
    if (line[0] == '[' && line[size - 1] == ']') {
        line[size - 1] = '\0';
        free(*section);
        *section = xstrdup(line + 1);
    } else if (line[0] != '[' && equals) {
        *equals = '\0';
        (void)on_key(p, *section, trim(line), trim(equals + 1));
    } else {
        (void)complain(p, "neither [section] nor key = value");
    }
}

/* Lines are as long as they like: an address may hold any path. */
static void parse_file(struct parse *p, FILE *f)
{
    char *line = NULL, *section = xstrdup("");
    size_t room = 0;
    while (!p->error[0] && getline(&line, &room, f) >= 0) {
        p->lineno++;
        parse_line(p, line, &section);
    }
    if (ferror(f))
        (void)complain(p, "cannot be read: %s", strerror(errno));
    free(section);
    free(line);
}

static const char *incomplete(const struct config *c)
{
    static const uint8_t zero[16];
    if (memcmp(c->uuid, zero, 16) == 0)
        return "[cluster] has no uuid; every cluster needs one of its own";
    size_t copies = 0, witnesses = 0;
    for (size_t i = 0; i < c->nodes_count; i++) {
        const struct config_node *n = &c->nodes[i];
        if (!n->id)
            return "a node has no id";
        if (!n->address[0])
            return "a node has no address";
        for (size_t j = 0; j < i; j++) {
            if (c->nodes[j].id == n->id)
                return "two nodes have the same id";
            if (strcmp(c->nodes[j].address, n->address) == 0)
                return "two nodes have the same address";
        }
        n->witness ? witnesses++ : copies++;
    }
    if (!c->nodes_count)
        return "no [node NAME] section";
    if ((copies + witnesses) % 2 == 0)
        return "an even number of nodes survives no more than one node less: use 1, 3, 5 or 7";
    if (copies < (copies + witnesses) / 2 + 1)
        return "too few copies: to survive f failures it takes f+1 copies (and at most f "
               "witnesses)";
    return NULL;
}

int config_load(const char *path, struct config *ret, char *error, size_t error_size)
{
    struct config c = {.election = "candidate", .leader_lease = true};
    struct parse p = {.config = &c, .path = path, .error = error, .error_size = error_size};
    error[0] = '\0';
    FILE *f = fopen(path, "re");
    if (!f) {
        int e = errno;
        (void)snprintf(error, error_size, "cannot read %s: %s", path, strerror(e));
        return -e;
    }
    parse_file(&p, f);
    (void)fclose(f);
    if (error[0])
        return -EINVAL;
    const char *lack = incomplete(&c);
    if (lack) {
        (void)snprintf(error, error_size, "%s: %s", path, lack);
        return -EINVAL;
    }
    if (!c.name[0])
        memcpy(c.name, "tally", 6);
    *ret = c;
    return 0;
}

const struct config_node *config_find(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nodes_count; i++)
        if (strcmp(c->nodes[i].name, name) == 0)
            return &c->nodes[i];
    return NULL;
}

const struct config_node *config_find_id(const struct config *c, uint32_t id)
{
    for (size_t i = 0; i < c->nodes_count; i++)
        if (c->nodes[i].id == id)
            return &c->nodes[i];
    return NULL;
}
