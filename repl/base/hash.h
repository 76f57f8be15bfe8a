/* XXH3 with 64 bits: checksums of frames, records and blocks. The only module that knows xxHash.
 *
 * It finds damage and it spreads keys; it does not stop somebody who forges bytes on purpose. */
#ifndef TALLY_REPL_BASE_HASH_H
#define TALLY_REPL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash64(const void *p, size_t size);
uint64_t hash64_seed(const void *p, size_t size, uint64_t seed);

/* The hash64 of several runs one behind the other, wherever they are cut. */
struct hash_stream {
    _Alignas(64) uint8_t opaque[640];
};
void hash_stream_init(struct hash_stream *s);
void hash_stream_add(struct hash_stream *s, const void *p, size_t size);
uint64_t hash_stream_end(const struct hash_stream *s);

#endif
