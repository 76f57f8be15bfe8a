#include "tests/sim/tell.h"

#include <stdio.h>

const char *tell_replay(const struct sim_options *o)
{
    static char text[1024];
    const struct {
        bool set;
        const char *flag;
    } flags[] = {
        {o->no_locks, "--no-locks"},
        {o->no_ranges, "--no-ranges"},
        {o->no_attrs, "--no-attrs"},
        {o->no_mix, "--no-mix"},
        {o->no_setid, "--no-setid"},
        {o->no_known_bytes, "--no-known-bytes"},
        {o->no_kept, "--no-kept"},
        {o->no_late_lists, "--no-late-lists"},
        {o->no_idle_files, "--no-idle-files"},
    };
    int n = snprintf(text, sizeof text, "tally-sim --seed %llu --minutes %g",
                     (unsigned long long)o->seed, (double)o->length / 60e6);
    const char *word = " --off ";
    if (o->faults_off == FAULTS_ALL) {
        n += snprintf(text + n, sizeof text - (size_t)n, " --off all");
        word = NULL;
    }
    for (uint32_t kind = 0; word && kind < FAULT_COUNT; kind++)
        if (o->faults_off >> kind & 1) {
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%s", word,
                          sim_fault_name((enum sim_fault)kind));
            word = ",";
        }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].set)
            n += snprintf(text + n, sizeof text - (size_t)n, " %s", flags[i].flag);
    if (o->mounts_max)
        n += snprintf(text + n, sizeof text - (size_t)n, " --mounts %u", o->mounts_max);
    if (o->apps_max)
        (void)snprintf(text + n, sizeof text - (size_t)n, " --apps %u", o->apps_max);
    return text;
}

static void print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < ' ' ? ' ' : *text);
    putchar('"');
}

void tell_violation(const struct farm_run *run, bool json)
{
    if (json) {
        printf("{\"seed\":%llu,\"checker\":", (unsigned long long)run->options.seed);
        print_json_string(run->result.checker);
        printf(",\"detail\":");
        print_json_string(run->result.detail);
        printf(",\"at_s\":%.6f,\"replay\":", (double)run->result.virtual_us / 1e6);
        print_json_string(tell_replay(&run->options));
        printf("}\n");
    } else {
        printf("VIOLATION seed=%llu checker=%s at=%.6fs\n  %s\n  replay: %s\n",
               (unsigned long long)run->options.seed, run->result.checker,
               (double)run->result.virtual_us / 1e6, run->result.detail,
               tell_replay(&run->options));
    }
    fflush(stdout);
}

void tell_hash(const struct farm_run *run)
{
    const struct sim_swarm *swarm = &run->result.swarm;
    printf("hash seed=%llu %016llx events=%llu virtual_s=%.0f cluster=%uC+%uW mounts=%u apps=%u\n",
           (unsigned long long)run->options.seed, (unsigned long long)run->result.trace_hash,
           (unsigned long long)run->result.counts[COUNT_EVENTS],
           (double)run->result.virtual_us / 1e6, swarm->copies, swarm->witnesses, swarm->mounts,
           swarm->apps);
}

void tell_add(struct totals *t, const struct sim_result *r)
{
    t->seeds++;
    t->violations += r->failed;
    t->virtual_us += r->virtual_us;
    for (size_t i = 0; i < COUNT_MAX; i++)
        t->sum.counts[i] += r->counts[i];
    for (size_t i = 0; i < FAULT_COUNT; i++)
        t->sum.faults[i] += r->faults[i];
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < 8; k++)
            t->sum.modes[i][k] += r->modes[i][k];
}

static const char *const counter_names[COUNT_MAX] = {
    [COUNT_EVENTS] = "events",
    [COUNT_OPS] = "ops",
    [COUNT_ELECTIONS] = "elections",
    [COUNT_RESCUES] = "rescues",
    [COUNT_GIVEN_WAY] = "given_way",
    [COUNT_SESSIONS_ENDED] = "sessions_ended",
    [COUNT_HOLDERS_BACK] = "holders_back",
    [COUNT_DRAFTS] = "drafts",
    [COUNT_DEMOTIONS] = "demotions",
    [COUNT_DRAFTED_BLOCKS] = "drafted_blocks",
    [COUNT_REPAIRS] = "repairs",
    [COUNT_SNAPSHOTS] = "snapshots",
    [COUNT_RECALLS] = "recalls",
    [COUNT_COMMITS] = "commits",
    [COUNT_READS_REDONE] = "reads_redone",
    [COUNT_NAMES_GIVEN_UP] = "names_given_up",
    [COUNT_REFUSED_STORES] = "refused_stores",
};

void tell_counts(const struct totals *t)
{
    static const char *const roles[8] = {
        "copy rescue leader",    "copy follower",    "copy candidate",    "copy leader",
        "witness rescue leader", "witness follower", "witness candidate", "witness leader"};
    static const char *const modes[8] = {"plain", "drafted", "catching up", "snapshot", "missing"};
    for (size_t i = 0; i < COUNT_MAX; i++)
        if (counter_names[i])
            printf("count %s %llu\n", counter_names[i], (unsigned long long)t->sum.counts[i]);
    for (size_t i = 0; i < FAULT_COUNT; i++)
        printf("fault %s %llu\n", sim_fault_name((enum sim_fault)i),
               (unsigned long long)t->sum.faults[i]);
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < 8; k++)
            if (t->sum.modes[i][k])
                printf("mode %s, %s %llu\n", roles[i] ? roles[i] : "?", modes[k] ? modes[k] : "?",
                       (unsigned long long)t->sum.modes[i][k]);
}

void tell_totals(const struct totals *t, double took)
{
    uint64_t faults = 0;
    for (size_t i = 0; i < FAULT_COUNT; i++)
        faults += t->sum.faults[i];
    printf("events=%llu events_per_second=%.0f virtual_hours_per_hour=%.0f\n",
           (unsigned long long)t->sum.counts[COUNT_EVENTS],
           (double)t->sum.counts[COUNT_EVENTS] / took, (double)t->virtual_us / 1e6 / took);
    printf("seeds=%llu violations=%llu virtual_hours=%.2f faults=%llu elections=%llu "
           "sessions_ended=%llu ops=%llu speed=%.0fx\n",
           (unsigned long long)t->seeds, (unsigned long long)t->violations,
           (double)t->virtual_us / 3600e6, (unsigned long long)faults,
           (unsigned long long)t->sum.counts[COUNT_ELECTIONS],
           (unsigned long long)t->sum.counts[COUNT_SESSIONS_ENDED],
           (unsigned long long)t->sum.counts[COUNT_OPS], (double)t->virtual_us / 1e6 / took);
}
