#include "tools/elect/table.h"

#include <inttypes.h>
#include <string.h>

enum { CELL_MAX = 24 };

void table_heading(FILE *out, enum profile profile, bool raw)
{
    fprintf(out, "%s, %s: %s\n\n", profile_name(profile), raw ? "raw" : "with ballots",
            profile_text(profile));
    fprintf(out, "%-11s %6s %6s %5s %12s %10s %9s %9s %9s %10s %6s %6s\n", "STRATEGY", "NODES",
            "VOTERS", "RUNS", "MESSAGES", "BUSIEST", "P50", "P99", "ELECTIONS", "LEADERLESS",
            "SPLIT", "STALE");
    fprintf(out, "%-11s %6s %6s %5s %12s %10s %9s %9s %9s %10s %6s %6s\n", "", "", "", "",
            "/ election", "node", "ms", "ms", "/ failure", "share", "brains", "leader");
}

/* Grouped by thousands, one decimal below a hundred; "-" for a figure there is none of. */
static const char *number(char cell[CELL_MAX], double v)
{
    char digits[CELL_MAX];
    size_t length, at = 0;

    if (v < 0)
        return "-";
    if (v < 100) {
        (void)snprintf(cell, CELL_MAX, "%.1f", v);
        return cell;
    }
    length = (size_t)snprintf(digits, sizeof digits, "%.0f", v);
    for (size_t i = 0; i < length && at + 2 < CELL_MAX; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            cell[at++] = ',';
        cell[at++] = digits[i];
    }
    cell[at] = '\0';
    return cell;
}

void table_row(FILE *out, const struct elect_row *row)
{
    const struct stats_summary *f = &row->figures;
    char messages[CELL_MAX], busiest[CELL_MAX], p50[CELL_MAX], p99[CELL_MAX], share[CELL_MAX] = "-";
    char voters[CELL_MAX] = "-", elections[CELL_MAX] = "-";

    if (!row->config.raw)
        (void)snprintf(voters, sizeof voters, "%" PRIu32, row->config.voters);
    if (f->leaderless_share >= 0)
        (void)snprintf(share, sizeof share, "%.2f%%", 100 * f->leaderless_share);
    if (f->elections_per_failure >= 0)
        (void)snprintf(elections, sizeof elections, "%.2f", f->elections_per_failure);
    fprintf(out,
            "%-11s %6" PRIu32 " %6s %5" PRIu32 " %12s %10s %9s %9s %9s %10s %6" PRIu64 " %6" PRIu64
            "\n",
            row->config.strategy->name, row->config.nodes, voters, row->runs,
            number(messages, f->messages_per_election), number(busiest, f->busiest_node),
            number(p50, f->leader_ms_p50), number(p99, f->leader_ms_p99), elections, share,
            row->split_brains, row->stale_leaders);
}
