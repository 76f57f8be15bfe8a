/* Intrusive doubly linked list: the links live in the listed object, so that adding and removing
 * neither allocates nor fails. The head is a `struct list` of its own. */
#ifndef TALLY_REPL_BASE_LIST_H
#define TALLY_REPL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

#ifndef container_of
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#endif

/* Makes an empty head, or an object that is in no list. */
static inline void list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Is the object with these links in a list? Needs list_init or list_remove before. */
static inline bool list_linked(const struct list *item)
{
    return item->next != item;
}

static inline void list_insert_before(struct list *at, struct list *item)
{
    item->prev = at->prev;
    item->next = at;
    at->prev->next = item;
    at->prev = item;
}

static inline void list_push_back(struct list *head, struct list *item)
{
    list_insert_before(head, item);
}

static inline void list_push_front(struct list *head, struct list *item)
{
    list_insert_before(head->next, item);
}

/* Takes it out; removing twice is fine. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* The first item, taken out, or NULL. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *item = head->next;
    if (item == head) {
        return NULL;
    }
    list_remove(item);
    return item;
}

/* Takes all out. */
static inline void list_clear(struct list *head)
{
    while (list_pop_front(head) != NULL) {
    }
}

/* Visits each item as `struct list *it`; the current one may be removed and freed, no other. */
#define list_each(it, head)                                                                        \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#define list_entry(it, type, member) container_of(it, type, member)
/* First or last object, NULL when empty. */
#define list_first(head, type, member)                                                             \
    (list_empty(head) ? NULL : container_of((head)->next, type, member))
#define list_last(head, type, member)                                                              \
    (list_empty(head) ? NULL : container_of((head)->prev, type, member))

#endif
